"""The day on which a scene was taken: by its product, its file's name, or what the file notes of itself.

In this order the first that says counts: a pattern of the user's, the product's metadata or the datetime of a STAC
item, ACQUISITIONDATETIME, the name of the file and then of its folder, and at last TIFFTAG_DATETIME, which is often the
day on which a file was written. Days are whole, counted from 1970-01-01.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from satae.errors import ConfigError, SceneError
from satae.scene.scene import Scene
from satae.scene.tags import DATE_TIME, GDAL_METADATA, text_tags

EPOCH = date(1970, 1, 1)
FIRST, LAST = 1900, 2100  # years that a number may mean

YEAR, MONTH, DAY = r"(?P<y>19\d\d|20\d\d)", r"(?P<m>0[1-9]|1[0-2])", r"(?P<d>0[1-9]|[12]\d|3[01])"
NOTED = re.compile(r'name="ACQUISITIONDATETIME"[^>]*>\s*(\d{4}-\d\d-\d\d)')
WRITTEN = re.compile(r"\s*(\d{4}):(\d\d):(\d\d)")
FIELDS = {"%Y": YEAR, "%m": MONTH, "%d": DAY, "%j": r"(?P<j>[0-3]\d\d)", "%y": r"(?P<s>\d\d)"}


@dataclass(frozen=True)
class Pattern:
    """How a date may stand in a name; `means` says it for people."""

    means: str
    regex: re.Pattern[str]


# the first that is found counts, and of one the first place in the name
PATTERNS = (
    Pattern("20180703, 20180703T100031", re.compile(rf"(?<!\d){YEAR}{MONTH}{DAY}(?!\d)")),
    Pattern("2018-07-03, 2018_07_03, 2018.07.03", re.compile(rf"(?<!\d){YEAR}([-_.]){MONTH}\2{DAY}(?!\d)")),
    Pattern("2018184 (day of the year)", re.compile(rf"(?<!\d){YEAR}(?P<j>[0-3]\d\d)(?!\d)")),
    Pattern(
        "LC81820302018184LGN00 (Landsat before collections)",
        re.compile(rf"L[COTEM]\d\d{{6}}{YEAR}(?P<j>[0-3]\d\d)"),
    ),
    Pattern(
        "20180703100031 (with the time of day)", re.compile(rf"(?<!\d){YEAR}{MONTH}{DAY}[0-2]\d[0-5]\d{{3}}")
    ),
    Pattern("2018-07, 2018_07 (the middle of the month)", re.compile(rf"(?<!\d){YEAR}[-_.]{MONTH}(?!\d)")),
    Pattern("2018 (the middle of the year)", re.compile(rf"(?<!\d){YEAR}(?!\d)")),
)


def day_of(scene: Scene, pattern: str | None = None) -> int:
    """The day on which a scene was taken; SceneError where nothing says, ConfigError where the pattern is none.

    `pattern` is how a date stands in file names, in the letters of strftime: S2_%Y%m%d, %d.%m.%Y, %Y%j.
    """
    if pattern is not None:
        found = _in_names(scene.path, [_pattern(pattern).regex])
        if found is None:
            raise SceneError(f"{scene.path} has no date as --date-pattern {pattern} has it")
        return found
    ways: tuple[Callable[[], int | None], ...] = (
        lambda: _iso(scene.product.day) if scene.product else None,
        lambda: _noted(scene.path),
        lambda: _in_names(scene.path, [p.regex for p in PATTERNS]),
        lambda: _written(scene.path),
    )
    for way in ways:
        if (day := way()) is not None:
            return day
    raise SceneError(
        f"{scene.path} does not say when it was taken: put the date into its name, such as 20180703, or say by "
        "--date-pattern how it stands there, such as %d.%m.%Y"
    )


def day_of_cell(text: str, path: Path) -> int:
    """The day that a table says of a scene, ConfigError where it says none."""
    if (day := day_in(text)) is None:
        raise ConfigError(f"a table says {text!r} as the date of {path}; give it as 2018-07-03")
    return day


def day_in(text: str, pattern: str | None = None) -> int | None:
    """The first day that a text names, None where it names none; `pattern` as for `day_of`."""
    return _in_text(text, [p.regex for p in (PATTERNS if pattern is None else (_pattern(pattern),))])


def text_of(day: float) -> str:
    """A day as ISO 8601."""
    return (EPOCH + timedelta(days=round(day))).isoformat()


def day_of_text(text: str, option: str) -> int:
    """A day of ISO 8601, of a month or a year the first; ConfigError names the option where it is none."""
    parts = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", text.strip())
    if parts is not None:
        year, month, day = (int(p or 1) for p in parts.groups())
        if (found := _day(year, month, day)) is not None:
            return found
    raise ConfigError(f"{option} {text}: there is no such day; give it as 2018-07-03")


def span(text: str, option: str) -> tuple[float, float]:
    """(first, last) day of A..B, ..B, A.. or A; what is left out is infinite."""
    first, dots, last = text.partition("..")
    if not dots:
        return float(day_of_text(first, option)), float("inf")
    low = float(day_of_text(first, option)) if first.strip() else float("-inf")
    high = float(day_of_text(last, option)) if last.strip() else float("inf")
    if low > high:
        raise ConfigError(f"{option} {text} ends before it begins")
    return low, high


def _day(year: int, month: int, day: int) -> int | None:
    try:
        return (date(year, month, day) - EPOCH).days if FIRST <= year < LAST else None
    except ValueError:
        return None


def _iso(text: str) -> int | None:
    parts = re.match(r"(\d{4})-(\d\d)-(\d\d)", text)
    return None if parts is None else _day(*map(int, parts.groups()))


def _noted(path: Path) -> int | None:
    """ACQUISITIONDATETIME of GDAL's metadata."""
    found = NOTED.search(text_tags(path).get(GDAL_METADATA, "")) if path.is_file() else None
    return None if found is None else _iso(found[1])


def _written(path: Path) -> int | None:
    """The DateTime tag of TIFF."""
    found = WRITTEN.match(text_tags(path).get(DATE_TIME, "")) if path.is_file() else None
    return None if found is None else _day(*map(int, found.groups()))


def _in_names(path: Path, regexes: list[re.Pattern[str]]) -> int | None:
    """The first date in the name of a file, else in that of its folder."""
    for name in (path.name, path.absolute().parent.name):
        if (day := _in_text(name, regexes)) is not None:
            return day
    return None


def _in_text(text: str, regexes: list[re.Pattern[str]]) -> int | None:
    for regex in regexes:
        for match in regex.finditer(text):
            if (day := _meant(match.groupdict())) is not None:
                return day
    return None


def _meant(found: dict[str, str | None]) -> int | None:
    """The day of the parts of a date; the middle of what is not said."""
    year = int(found.get("y") or 2000 + int(found.get("s") or 0))
    if (ordinal := found.get("j")) is not None:
        first = _day(year, 1, 1)
        return first + int(ordinal) - 1 if first is not None and 1 <= int(ordinal) <= 366 else None
    month, day = found.get("m"), found.get("d")
    if month is None:
        return _day(year, 7, 1)
    return _day(year, int(month), int(day or 15))


def _pattern(text: str) -> Pattern:
    """A pattern of the user's."""
    used = re.findall(r"%.", text)
    if not {"%Y", "%y"} & set(used) or len(set(used)) != len(used) or not set(used) <= set(FIELDS):
        raise ConfigError(
            f"--date-pattern {text} is no date: it needs %Y or %y, and may hold %m, %d and %j, each once"
        )
    regex = "".join(FIELDS.get(part, re.escape(part)) for part in re.split(r"(%.)", text))
    return Pattern(text, re.compile(regex))
