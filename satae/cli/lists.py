"""Lists that are typed between commas: numbers, seeds, devices."""

from satae.errors import ConfigError


def devices_of(text: str | None, device: str) -> list[str]:
    """The devices of a list, none where there is no list."""
    if text is not None and device != "auto":
        raise ConfigError(f"--devices {text} and --device {device} are both given; choose one")
    return [] if text is None else [name.strip() for name in text.split(",")]


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds between commas; ConfigError where they are no different whole numbers."""
    seeds = numbers_of("--seeds", text)
    if not seeds or any(s != int(s) or not 0 <= s < 2**32 for s in seeds) or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {text} is not a list of different whole numbers such as 0,1,2")
    return tuple(map(int, seeds))


def numbers_of(option: str, text: str) -> tuple[float, ...]:
    """Numbers between commas; none in an empty text."""
    try:
        return tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise ConfigError(f"{option} {text} is not a list of numbers such as 1,2,4") from error
