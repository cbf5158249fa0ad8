"""Everything that can go wrong for a reason the user can mend; anything else is a bug of satae.

    SataeError            exit code 2
    ├── ConfigError       a recipe or an option: unknown key, value out of range
    ├── SceneError        a raster, mask or AOI: missing, unsupported, not georeferenced as needed
    │   ├── DamageError   a block of it cannot be decoded
    │   └── UnplacedError control points or RPCs locate it, and nothing else
    ├── DataError         a set of images: missing, damaged, or more than data
    ├── TilesError        a tile set: missing, incomplete, unsuited to the training that was asked for
    ├── TrainError        the training itself: nothing to learn from, a damaged checkpoint
    │   └── DivergedError the loss or its gradient is no longer a number
    ├── ModelError        a model file: missing, no card, does not fit the scene
    ├── ResultError       a result (.gpkg): missing, not from satae, locked, or changed elsewhere
    ├── DeviceError       a device that was asked for and did not take
    └── OutputError       exit code 3: a result could not be written; what was there before is still there

A message says what is wrong, with which value, and what to type; it starts in lower case or with a file
name and has no full stop.
"""


class SataeError(Exception):
    """Catch this to handle every failure that satae explains; ``exit_code`` is what the command returns."""

    exit_code = 2


class ConfigError(SataeError):
    """A recipe or an option is wrong."""


class SceneError(SataeError):
    """A scene, mask or AOI cannot be used."""


class DamageError(SceneError):
    """Pixels of a scene cannot be decoded."""


class UnplacedError(SceneError):
    """Pixels of a scene have no map coordinates yet."""


class DataError(SataeError):
    """A set of images cannot be used."""


class TilesError(SataeError):
    """A tile set cannot be used."""


class TrainError(SataeError):
    """Training cannot start or go on."""


class DivergedError(TrainError):
    """The loss or its gradient is no longer a number."""


class ModelError(SataeError):
    """A model file cannot be used, or does not fit the scene."""


class ResultError(SataeError):
    """A result cannot be used, or not just now."""


class DeviceError(SataeError):
    """The device that was asked for is not there."""


class OutputError(SataeError):
    """A result could not be written; an older one under the same name is untouched."""

    exit_code = 3
