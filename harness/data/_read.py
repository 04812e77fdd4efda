"""Records of a file, one by one: JSONL, JSON, CSV, TSV or parquet, plain or gzipped. Nothing is read whole."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from harness.data._encoding import MARKS, check_bytes, encoded, is_utf8, recoded, single, undecoded
from harness.errors import HarnessError

CHUNK = 1 << 16
LONGEST = 1 << 26
"""Characters of the longest single record of a JSON file: 64 million."""
BEGUN = 1 << 22
"""Characters at the beginning of a JSON file that is no list, by which it is told what it may be: 4 million."""
DIGITS = 300
"""Of the longest whole number that is kept as one; Python reads none of more than 4,300, and a float none above 308."""
QUOTED = "a cell that begins with a quote has to be quoted as a whole, its quotes doubled"
UNKNOWN = (ArithmeticError, LookupError, ValueError)
"""What pyarrow raises for a cell that Python has no value for: a date after the year 9999, an unknown time zone."""
_LIST = re.compile(rb"\s*\[\s*(\{|\Z)")
_LAST = re.compile(r"[\w.+-]*\s*\Z")
_NAMED = re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_END = re.compile(r"\s*\{?\s*\}")
_OBJECTS = re.compile(r"\[\s*\{")
_TURN = ({"role", "content"}, {"from", "value"})
"""Names of a conversation's turns, which are no rows."""


class Record(NamedTuple):
    """One record of a file: its place (`line 3`, `row 3`), and its values or what is wrong with it."""

    place: str
    values: dict[str, Any] | None
    problem: str = ""


def format_of(path: Path) -> str:
    """A file's format by its name, for example `jsonl` or `csv.gz`; empty where none of ours."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == "gz"
    kind = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    kind = {"ndjson": "jsonl"}.get(kind, kind)
    if kind not in READERS or (zipped and kind == "parquet"):
        return ""
    return f"{kind}.gz" if zipped else kind


def records(path: Path, kind: str, encoding: str, name: str) -> Iterator[Record]:
    """All records of a file in their order.

    Args:
        path: the file.
        kind: its format, of `format_of`.
        encoding: of text that is not UTF-8; parquet has its own.
        name: what messages call the file.

    Raises:
        HarnessError: the file as a whole cannot be read on: another format, another encoding, cut in the middle.
    """
    plain, _, zipped = kind.partition(".")
    text = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    if plain != "parquet" and text == encoding:
        with _opened(path, bool(zipped), name) as stream:
            text = "utf-8-sig" if is_utf8(stream) else text
    with _opened(path, bool(zipped), name) as stream:
        if plain != "parquet":
            check_bytes(stream, plain, text, name)
        yield from READERS[plain](stream, text, name)


@contextlib.contextmanager
def _opened(path: Path, zipped: bool, name: str) -> Iterator[IO[bytes]]:
    with gzip.open(path) if zipped else path.open("rb") as stream:
        try:
            yield stream  # type: ignore[misc]  # a GzipFile reads like any binary stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise HarnessError(f"{name}: the gzip file is damaged or cut in the middle ({error})") from error


def _jsonl(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
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
    return _record(place, values, decoder.twice)


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
            self.twice = _twice(name for name, _ in pairs)
        return found


def _whole(digits: str) -> int | float:
    """A whole number; infinite where it has too many digits, so that no score is made of it."""
    return int(digits) if len(digits) <= DIGITS else float(digits)


def _json(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
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
        yield _record(f"row {number}", text.value(number), text.decoder.twice)
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
            return [*found, *([named[1][1:-1]] if _OBJECTS.match(text, named.end()) else [])], 0
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            found += [] if any(names <= value[0].keys() for names in _TURN) else [named[1][1:-1]]
    end = _END.match(text, at)
    return found, end.end() if end else 0


def _csv(stream: IO[bytes], encoding: str, name: str, delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(LONGEST)
    rows = csv.DictReader(io.TextIOWrapper(stream, encoding, newline=""), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            values = next(rows, None)
        except UnicodeError as error:
            raise encoded(stream, encoding, name) from error
        except csv.Error as error:
            raise HarnessError(f"{name}: {_torn(number, delimiter, error)}") from error
        if values is None:
            return
        if number == 1:
            _check_header(list(rows.fieldnames or []), delimiter, name)
        more, fewer = None in values, None in values.values()
        wrong = f"has {'more' if more else 'fewer'} values than the header has columns" if more or fewer else ""
        if delimiter == "\t" and not wrong and _swallows(list(values.values())):
            what = f"row {number} has a quoted cell with a line that is itself a row, so rows may be lost in it"
            raise HarnessError(f"{name}: {what}; {QUOTED} (where it is meant so, write the file as JSONL)")
        yield Record(f"row {number}", None if wrong else values, wrong)


def _torn(number: int, delimiter: str, error: csv.Error) -> str:
    """What is said of a row whose cells cannot be told apart; most often that is a matter of quotes."""
    quotes = f"; {QUOTED}" if '"' in str(error) or "unexpected end" in str(error) else ""
    return f"row {number} is no {'TSV' if delimiter == chr(9) else 'CSV'} ({error}){quotes}"


def _swallows(cells: list[str]) -> bool:
    """Whether a line of a cell that has several is a row by itself: as many tabs, and something in each of its parts.

    Many programs write TSV without quoting, so a cell that begins with a quote would go on to the next quote, whatever
    stands between. A line that begins with a tab is not meant: code does.
    """
    for place, cell in enumerate(cells):
        lines = cell.split("\n")
        for at, line in enumerate(lines if len(lines) > 1 else ()):
            parts = line.split("\t")
            beside = (place if at == 0 else 0) + (len(cells) - 1 - place if at == len(lines) - 1 else 0)
            if len(parts) > 1 and all(parts) and len(parts) - 1 + beside == len(cells) - 1:
                return True
    return False


def _tsv(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    return _csv(stream, encoding, name, "\t")


def _parquet(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        file = parquet.ParquetFile(stream)
        _check_names(file.schema_arrow.names, name)
        for batch in file.iter_batches(batch_size=1024):
            for values, wrong in _values(batch):
                number += 1
                yield Record(f"row {number}", None if wrong else values, wrong)
    except (pyarrow.ArrowException, OSError) as error:
        raise HarnessError(f"{name}: is no parquet file or is damaged after row {number} ({error})") from error


def _values(batch: Any) -> Iterable[tuple[dict[str, Any], str]]:
    """Values of each row, and what is wrong with it."""
    try:
        return [(values, "") for values in batch.to_pylist()]
    except UNKNOWN:
        cells = zip(*batch.columns, strict=True)
        return (_by_cell(dict(zip(batch.schema.names, row, strict=True))) for row in cells)


def _by_cell(cells: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A row some of whose cells Python may have no value for: such a cell is its type, which no field takes as a value.

    Most often it is a date in a column that nobody reads.
    """
    values, wrong = dict[str, Any](), ""
    for name, cell in cells.items():
        try:
            values[name] = cell.as_py()
        except UnicodeDecodeError as error:
            wrong = f"has text in column '{name}' that is not utf-8 (byte 0x{error.object[error.start]:02x})"
        except UNKNOWN:
            values[name] = cell.type
    return values, wrong


def _record(place: str, values: object, twice: str) -> Record:
    if twice:
        return Record(place, None, f"has '{twice}' twice; each name must be there once")
    if isinstance(values, dict):
        return Record(place, values)
    return Record(place, None, f"is a {type(values).__name__}; it must be an object with named fields")


def _check_start(line: bytes, encoding: str, where: str) -> None:
    """The first line of a JSONL file tells where the whole is something else."""
    if line.startswith(MARKS):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            raise HarnessError(f"{where}: {undecoded(encoding, line, error, line)}") from error
    if _LIST.match(line):
        raise HarnessError(f"{where}: this is a JSON list, and JSONL has an object in each line; name the file .json")


def _check_header(columns: list[str], delimiter: str, name: str) -> None:
    """A header of one column that holds another delimiter is one that was not taken apart; a name stands there once."""
    other = next((sign for sign in ",;\t" if sign != delimiter and sign in "".join(columns[:1])), "")
    if len(columns) == 1 and other:
        raise HarnessError(
            f"{name}: the header is one column, {columns[0]!r}; .csv has commas between columns, and .tsv has tabs"
        )
    _check_names(columns, name)


def _check_names(columns: Iterable[str], name: str) -> None:
    """Of two columns with a name the last would win; those without one are left by a spreadsheet."""
    twice = _twice(column for column in columns if column)
    if twice:
        raise HarnessError(f"{name}: there are two columns '{twice}'; give each a name of its own")


def _twice(names: Iterable[str]) -> str:
    """The first name that is there a second time; empty where none is."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


READERS: dict[str, Callable[[IO[bytes], str, str], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
