"""Records of a file, one by one: JSONL, JSON, CSV, TSV or parquet, plain or gzipped. Nothing is read whole."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from harness.data._encoding import check_bytes, encoded, is_utf8
from harness.data._json import LONGEST, json_list, jsonl
from harness.data._record import Record, named_twice
from harness.errors import HarnessError

QUOTED = "a cell that begins with a quote has to be quoted as a whole, its quotes doubled"
UNKNOWN = (ArithmeticError, LookupError, ValueError)
"""What pyarrow raises for a cell that Python has no value for: a date after the year 9999, an unknown time zone."""


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
    twice = named_twice(column for column in columns if column)
    if twice:
        raise HarnessError(f"{name}: there are two columns '{twice}'; give each a name of its own")


READERS: dict[str, Callable[[IO[bytes], str, str], Iterator[Record]]] = {
    "jsonl": jsonl,
    "json": json_list,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
