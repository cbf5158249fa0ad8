"""Which part of the entries is this process's: those whose name falls to it, whatever the others do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from satae.errors import ConfigError

# what gives a task its number, and what says how many there are and from which number on they are counted
ARRAYS = {
    "SLURM_ARRAY_TASK_ID": ("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    "AWS_BATCH_JOB_ARRAY_INDEX": ("AWS_BATCH_JOB_ARRAY_SIZE", ""),
    "JOB_COMPLETION_INDEX": ("", ""),
    "COILED_BATCH_TASK_ID": ("", ""),
}


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 0 as all schedulers do."""

    number: int = 0
    count: int = 1

    def holds(self, name: str) -> bool:
        """Whether an entry of that name is in it; every name is in exactly one of them."""
        if self.count == 1:
            return True
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % self.count == self.number

    @property
    def mark(self) -> str:
        """What names of its files carry, nothing where there is but one."""
        return f"-{self.number}-of-{self.count}" if self.count > 1 else ""


def shard_of(text: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The part that `i/n`, `auto` or `auto/n` means; ConfigError where it is none."""
    if text is None:
        return Shard()
    first, _, last = text.partition("/")
    if first != "auto":
        return _checked(text, _number(first, text), _number(last, text))
    for variable, (counted, least) in ARRAYS.items():
        if variable not in environment:
            continue
        number = _number(environment[variable], variable) - _number(environment.get(least, "0"), variable)
        if not last and counted not in environment:
            raise ConfigError(
                f"--shard auto: {variable} says which part this is, and nothing says of how many; pass --shard auto/N"
            )
        return _checked(variable, number, _number(last or environment[counted], text))
    raise ConfigError(f"--shard {text}: none of {', '.join(ARRAYS)} is set; pass --shard i/n, such as 0/8")


def _number(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"--shard: {where} is no part such as 0/8; parts are counted from 0")
    return int(text)


def _checked(where: str, number: int, count: int) -> Shard:
    if count < 1:
        raise ConfigError(f"--shard: {where} is a part of none; there is one at least, such as 0/1")
    if not 0 <= number < count:
        raise ConfigError(f"--shard: {where} is part {number} of {count}; parts go from 0 to {count - 1}")
    return Shard(number, count)
