"""Records of JSONL and JSON, one by one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from harness.data._encoding import MARKS, encoded, recoded, single, undecoded
from harness.data._record import Record, as_record, named_twice
from harness.errors import HarnessError

CHUNK = 1 << 16
LONGEST = 1 << 26
"""Characters of the longest single record of a JSON file: 64 million."""
BEGUN = 1 << 22
"""Characters at the beginning of a JSON file that is no list, by which it is told what it may be: 4 million."""
DIGITS = 300
"""Of the longest whole number that is kept as one; Python reads none of more than 4,300, and a float none above 308."""
_LIST = re.compile(rb"\s*\[\s*(\{|\Z)")
_LAST = re.compile(r"[\w.+-]*\s*\Z")
_NAMED = re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_END = re.compile(r"\s*\{?\s*\}")
_OBJECTS = re.compile(r"\[\s*\{")
_TURN = ({"role", "content"}, {"from", "value"})
"""Names of a conversation's turns, which are no rows."""


def jsonl(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    """Lines end at a newline alone: U+0085 and U+2028 are ordinary characters of a text."""
    lines: Iterable[bytes] = stream
    begun, decoder = False, _Decoder()
    if not single(encoding):
        lines, encoding = recoded(stream, encoding, name), "utf-8-sig"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not begun:
            _check_start(line, encoding, f"{name}, line {number}")
        begun = True
        yield _line(f"line {number}", line, encoding, decoder)


def _line(place: str, line: bytes, encoding: str, decoder: _Decoder) -> Record:
    decoder.twice = ""
    try:
        values = decoder.decode(line.decode(encoding).rstrip("\r\n"))  # else a text that is cut runs into the next line
    except UnicodeError as error:
        return Record(place, None, undecoded(encoding, line, error, line))
    except (json.JSONDecodeError, RecursionError) as error:
        cut = not line.endswith(b"\n") and _cut(error)
        why = f"{error.msg}: column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Record(place, None, f"{'is cut in the middle' if cut else 'is no JSON'} ({why})")
    return as_record(place, values, decoder.twice)


def _check_start(line: bytes, encoding: str, where: str) -> None:
    """The first line of a JSONL file tells where the whole is something else."""
    if line.startswith(MARKS):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            raise HarnessError(f"{where}: {undecoded(encoding, line, error, line)}") from error
    if _LIST.match(line):
        raise HarnessError(f"{where}: this is a JSON list, and JSONL has an object in each line; name the file .json")


def _cut(error: Exception) -> bool:
    """Whether the reader failed at the end of a line: in a text that is not closed, or in its last word or number."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or bool(_LAST.match(error.doc, error.pos))


class _Decoder(json.JSONDecoder):
    """JSON in which `twice` is the name that an object had twice, where one did: its last value would win unseen."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self._object, parse_int=_whole)
        self.twice = ""

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.twice = named_twice(name for name, _ in pairs)
        return found


def _whole(digits: str) -> int | float:
    """A whole number; infinite where it has too many digits, so that no score is made of it."""
    return int(digits) if len(digits) <= DIGITS else float(digits)


def json_list(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    """A list of objects, decoded one after the other, with one comma between two."""
    text, number = _Text(stream, encoding, name), 0
    if text.sign() != "[":
        raise HarnessError(f"{name}: {_no_list(text)}")
    text.skip()
    while text.sign() != "]":
        if number and text.sign() not in (",", ""):  # at the file's end the next row is missing, which is told below
            what = f"after row {number} stands {text.held[:20]!r}"
            raise HarnessError(f"{name}: {what}; a comma has to stand between two rows, and ] after the last")
        if number:
            text.skip()
        if text.sign() in (",", "]"):
            where = f"after row {number}" if number else "before row 1"
            raise HarnessError(
                f"{name}: there is a comma too many {where}; one stands between two rows, none elsewhere"
            )
        number += 1
        yield as_record(f"row {number}", text.value(number), text.decoder.twice)
    text.skip()
    if text.sign():
        what = f"the file goes on after its list, with {text.held[:20]!r}"
        raise HarnessError(f"{name}: {what}; all rows have to stand in one list")


class _Text:
    """The text of a JSON file, of which what is yet to be decoded is `held`."""

    def __init__(self, stream: IO[bytes], encoding: str, name: str) -> None:
        self.stream, self.encoding, self.name = stream, encoding, name
        self.source, self.decoder = io.TextIOWrapper(stream, encoding, newline=""), _Decoder()
        self.held = ""

    def sign(self) -> str:
        """The next sign that is no white space; empty at the end of the file."""
        self.held = self.held.lstrip(" \t\r\n")
        while not self.held and self._grow(CHUNK):
            self.held = self.held.lstrip(" \t\r\n")
        return self.held[:1]

    def skip(self) -> None:
        """Go on behind the next sign."""
        self.held = self.held[1:]

    def begun(self, size: int) -> str:
        """The next characters, as many as there are up to a size."""
        while len(self.held) < size and self._grow(size - len(self.held)):
            pass
        return self.held[:size]

    def value(self, number: int) -> object:
        """The value that comes next, of row `number`."""
        size = CHUNK
        while True:
            self.decoder.twice = ""
            try:
                value, end = self.decoder.raw_decode(self.held)
            except (json.JSONDecodeError, RecursionError) as error:
                if len(self.held) >= LONGEST or not self._grow(size):
                    what = f"row {number} is cut in the middle or no JSON ({error})"
                    raise HarnessError(f"{self.name}: {what}; the rows after it cannot be found") from error
            else:
                if end < len(self.held) or not self._grow(size):  # a number may go on in what is not yet read
                    self.held = self.held[end:]
                    return value
            size *= 2

    def _grow(self, size: int) -> bool:
        """Read so many characters more; whether there were any."""
        try:
            more = self.source.read(size)
        except UnicodeError as error:
            raise encoded(self.stream, self.encoding, self.name) from error
        self.held += more
        return bool(more)


def _no_list(text: _Text) -> str:
    """What is said of a JSON file that is no list: it may be JSONL, one row, or an object that holds the list."""
    begun = text.begun(BEGUN)
    said = f"a JSON file must be a list of objects, [ {{...}}, ... ]; this begins {begun[:20]!r}"
    lists, end = _members(begun) if begun.startswith("{") else ([], 0)
    rest = begun[end:].lstrip(" \t\r")
    whole = end > 0 and not rest.strip()
    if end and "\n" not in begun[:end] and rest.startswith("\n") and not whole:
        return f"{said}, and its first line is a whole object; where each line is one, name it .jsonl"
    row = "put it between [ and ]"
    if lists:
        under = " or ".join(f"'{name}'" for name in lists)
        alone = f"where its rows are the list under {under}, write that list alone into the file"
        return f"{said}; {alone}" + (f"; where it is itself a row, {row}" if whole else "")
    return f"{said}, which is one object; where that is a row, {row}" if whole else said


def _members(text: str) -> tuple[list[str], int]:
    """What may be the rows of an object: names that hold lists of objects which are no turns of a conversation.

    Returns:
        The names, as far as the text goes, and the object's end; 0 where the text breaks off before it, or is no JSON.
    """
    found, at, decoder = list[str](), 0, _Decoder()
    while named := _NAMED.match(text, at):
        try:
            value, at = decoder.raw_decode(text, named.end())
        except (ValueError, RecursionError):
            return [*found, *([json.loads(named[1])] if _OBJECTS.match(text, named.end()) else [])], 0
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            found += [] if any(names <= value[0].keys() for names in _TURN) else [json.loads(named[1])]
    end = _END.match(text, at)
    return found, end.end() if end else 0
