"""TOML with the place of every key: `recipes/x.toml:14`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, nearest

PRESETS = Path(__file__).parent / "presets"
"""Settings that were published, to extend; in the repository they are recipes/presets."""
Step = str | int
_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


@dataclass
class Located:
    """Values of a TOML text, and where each was written.

    Attributes:
        values: as tomllib gives them.
        places: `file:line` by path, for example `("algorithm", 0, "beta")`.
        fallback: the place where none is known.
        text: the file as it was written, and what was set from the command line.
    """

    values: dict[str, Any]
    places: dict[tuple[Step, ...], str] = field(default_factory=dict)
    fallback: str = ""
    text: str = ""

    def where(self, *path: Step) -> str:
        """The place of a key, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.fallback


def read_toml(path: Path, text: str | None = None) -> Located:
    """Read a TOML file, or a text as if it stood there, and what it extends.

    `extends = "other.toml"` takes everything from another file, named from this one's folder, and `extends = "other"`
    from a preset of the package: tables are merged key by key, this file's keys win, and an array (an array of tables
    too) replaces the other file's as a whole.

    Raises:
        HarnessError: a file is not there or is no TOML, or files extend each other in a ring.
    """
    return _read(path, (), text)


def _read(path: Path, children: tuple[Path, ...], text: str | None = None) -> Located:
    if path.resolve() in children:
        raise HarnessError(f"{path}: recipes extend each other in a ring")
    try:
        text = path.read_text(encoding="utf-8") if text is None else text
        text = text.removeprefix("\ufeff")  # which some editors begin a UTF-8 file with
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise HarnessError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise HarnessError(f"{path}{':' + line[1] if line else ''}: this is no TOML: {error}") from error
    own = Located(values, _places(text, str(path)), str(path), text)
    parent = own.values.pop("extends", None)
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise HarnessError(f"{own.where('extends')}: extends is {parent!r}; it must name one file")
    return _merge(_read(_parent(path, parent, own.where("extends")), (*children, path.resolve())), own)


def _parent(path: Path, parent: str, where: str) -> Path:
    """The file that a recipe extends: beside it, or, by its name alone, a preset."""
    known = sorted(file.stem for file in PRESETS.glob("*.toml"))
    if (path.parent / parent).is_file():
        return path.parent / parent
    if "/" in parent or parent.endswith(".toml"):
        stem = Path(parent).stem
        preset = f'; the preset of that name is extended as "{stem}"' if stem in known else ""
        raise HarnessError(f"{where}: there is no file '{path.parent / parent}' to extend{preset}")
    if parent not in known:
        names = f"presets: {', '.join(known)}; a file is named with its .toml"
        raise HarnessError(f"{where}: there is no preset '{parent}' to extend{nearest(parent, known)} ({names})")
    return PRESETS / f"{parent}.toml"


def _merge(base: Located, own: Located) -> Located:
    places = dict(base.places)

    def merge(under: dict[str, Any], over: dict[str, Any], path: tuple[Step, ...]) -> dict[str, Any]:
        merged = dict(under)
        for name, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(name), dict):
                merged[name] = merge(under[name], value, (*path, name))
            else:
                for place in [place for place in places if place[: len(path) + 1] == (*path, name)]:
                    del places[place]
                merged[name] = value
        return merged

    values = merge(base.values, own.values, ())
    return Located(values, {**places, **own.places}, own.fallback, own.text)


def override(located: Located, assignments: list[str]) -> Located:
    """Apply `--set table.key=value`, where value is TOML, or text without quotes.

    Raises:
        HarnessError: an assignment has no `=`, or sets a key of something that is no table.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        path = name.strip().split(".")
        if not equals or not all(path):
            raise HarnessError(f"--set {assignment}: expected table.key=value, for example --set budget.steps=20")
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        table = located.values
        for step in path[:-1]:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise HarnessError(
                    f"--set {assignment}: '{step}' is no table; arrays of tables cannot be set from here"
                )
        table[path[-1]] = value
        located.places[tuple(path)] = f"--set {name.strip()}"
        located.text += f"# --set {assignment}\n"
    return located


def _places(text: str, file: str) -> dict[tuple[Step, ...], str]:
    """Where each header and key of a TOML text stands."""
    places: dict[tuple[Step, ...], str] = {}
    counts: dict[tuple[Step, ...], int] = {}
    table: tuple[Step, ...] = ()
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line = lines[number]
        header, key = _HEADER.match(line), _KEY.match(line)
        if key:
            path = table + tuple(_parts(key[1]))
            places.setdefault(path, f"{file}:{number + 1}")
            number += _height(lines, number)
            continue
        if header:
            table = _table(header[1] == "[[", _parts(header[2]), counts)
            places.setdefault(table, f"{file}:{number + 1}")
        number += 1
    return places


def _parts(text: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(text)]


def _table(is_array: bool, parts: list[str], counts: dict[tuple[Step, ...], int]) -> tuple[Step, ...]:
    """A header's path, with the number of each array of tables that it goes through."""
    path: tuple[Step, ...] = ()
    for place, part in enumerate(parts):
        path = (*path, part)
        if is_array and place == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _height(lines: list[str], first: int) -> int:
    """How many lines a key and its value take."""
    for last in range(first + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[first:last]))
        except tomllib.TOMLDecodeError:
            continue
        return last - first
    return 1
