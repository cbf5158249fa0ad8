"""Lists what a recipe can name, with its parameters: the files of a package, each with its `Params`."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import reprlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import pydantic

from satae.errors import ConfigError

Built = TypeVar("Built")


@dataclasses.dataclass(frozen=True)
class Choices:
    """The files of a package that can be named under `setting`; `kind` is what users call one.

    `keyed`: parameters are given under the name of what they belong to.
    """

    package: str
    setting: str
    kind: str
    names: tuple[str, ...]
    keyed: bool = False

    @classmethod
    def of(cls, package: str, path: Sequence[str], setting: str, kind: str) -> Choices:
        """All files of the package but those that begin with an underscore; folders in it are choices of their own."""
        names = tuple(sorted(m.name for m in pkgutil.iter_modules(path) if m.name[0] != "_" and not m.ispkg))
        return cls(package, setting, kind, names)

    def module(self, name: str) -> ModuleType:
        """The file of that name; ConfigError lists what there is."""
        if name not in self.names:
            raise ConfigError(
                f"{self.setting}.name = {name!r}: there is no such {self.kind}; there are {', '.join(self.names)}"
            )
        return importlib.import_module(f"{self.package}.{name}")

    def takes(self, name: str, param: str) -> bool:
        """Whether `name` has a parameter of that name."""
        return any(field.name == param for field in dataclasses.fields(self.module(name).Params))

    def params(self, name: str, given: Mapping[str, Any]) -> Any:
        """The Params of `name` with the given ones; ConfigError names the first that is wrong, and why."""
        found, where = self.module(name), self._place(name)
        known = [field.name for field in dataclasses.fields(found.Params)]
        for key in given:
            if key not in known:
                have = f"it has {', '.join(known)}" if known else "it has none"
                raise ConfigError(f"{where}.{key}: {name} has no such parameter; {have}")
        try:
            return pydantic.TypeAdapter(found.Params).validate_python(dict(given))
        except pydantic.ValidationError as error:
            fault = error.errors()[0]
            place = ".".join([where, *map(str, fault["loc"])])
            text = fault["msg"].lower().removeprefix("value error, ")
            raise ConfigError(f"{place} = {reprlib.repr(fault['input'])}: {text}") from error
        except (OverflowError, TypeError) as error:
            raise self._impossible(name, given) from error

    def build(self, name: str, given: Mapping[str, Any], make: Callable[[ModuleType, Any], Built]) -> Built:
        """What `make` gives for the file and its Params; ConfigError where it cannot."""
        params = self.params(name, given)
        try:
            return make(self.module(name), params)
        except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:
            raise self._impossible(name, given) from error

    def _impossible(self, name: str, given: Mapping[str, Any]) -> ConfigError:
        return ConfigError(f"{self._place(name)} = {reprlib.repr(dict(given))}: no such {name} can be built")

    def _place(self, name: str) -> str:
        return f"{self.setting}.params" + f".{name}" * self.keyed
