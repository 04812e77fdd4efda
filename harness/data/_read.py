"""Records of a file, one by one: JSONL, JSON, CSV, TSV or parquet, plain or gzipped. Nothing is read whole."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from harness.errors import HarnessError

CHUNK = 1 << 16
LONGEST = 1 << 26
"""Characters of the longest single record of a JSON file: 64 million."""
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LIST = re.compile(rb"\s*\[\s*(\{|\Z)")


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
        encoding: of text; parquet has its own.
        name: what messages call the file.

    Raises:
        HarnessError: the file as a whole cannot be read on: another format, another encoding, cut in the middle.
    """
    plain, _, zipped = kind.partition(".")
    text = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    with _opened(path, bool(zipped), name) as stream:
        yield from READERS[plain](stream, text, name)


@contextmanager
def _opened(path: Path, zipped: bool, name: str) -> Iterator[IO[bytes]]:
    with gzip.open(path) if zipped else path.open("rb") as stream:
        try:
            yield stream  # type: ignore[misc]  # a GzipFile reads like any binary stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise HarnessError(f"{name}: the gzip file is damaged or cut in the middle ({error})") from error


def _jsonl(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    """Lines end at a newline alone: U+0085 and U+2028 are ordinary characters of a text."""
    lines: Iterable[bytes] = stream
    begun = False
    if not _single(encoding):
        lines, encoding = _recoded(stream, encoding, name), "utf-8-sig"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not begun:
            _check_start(line, encoding, f"{name}, line {number}")
        begun, place = True, f"line {number}"
        try:
            values = json.loads(line.decode(encoding))
        except UnicodeDecodeError as error:
            yield Record(place, None, _wrong(encoding, line, error))
        except (json.JSONDecodeError, RecursionError) as error:
            cut = "is cut in the middle" if not line.endswith(b"\n") else "is no JSON"
            yield Record(place, None, f"{cut} ({error})")
        else:
            yield _record(place, values)


def _single(encoding: str) -> bool:
    """Whether a newline is one byte that nothing else has; in UTF-16 it is two, and 0x0a may be half of a letter."""
    return "\n".encode(_plain(encoding)) == b"\n"


def _recoded(stream: IO[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Lines as UTF-8."""
    text = io.TextIOWrapper(stream, encoding, newline="\n")
    try:
        for line in text:
            yield line.encode()
    except UnicodeError as error:
        raise _encoded(stream, encoding, name) from error


def _json(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    """A list of objects, decoded one after the other from a growing buffer."""
    source, decoder = codecs.getreader(encoding)(stream), json.JSONDecoder()
    buffer, number, size = _more(stream, source, CHUNK, encoding, name).lstrip(), 0, CHUNK
    if not buffer.startswith("["):
        raise HarnessError(
            f"{name}: a JSON file must be a list of objects, [ {{...}}, ... ]; this begins {buffer[:20]!r}"
        )
    buffer = buffer[1:]
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        if buffer.startswith("]"):
            return
        try:
            values, end = decoder.raw_decode(buffer)
        except (json.JSONDecodeError, RecursionError) as error:
            more = _more(stream, source, size, encoding, name) if len(buffer) < LONGEST else ""
            if not more:
                what = f"row {number + 1} is cut in the middle or no JSON ({error})"
                raise HarnessError(f"{name}: {what}; the rows after it cannot be found") from error
            buffer, size = buffer + more, size * 2
            continue
        buffer, number, size = buffer[end:], number + 1, CHUNK
        yield _record(f"row {number}", values)


def _more(stream: IO[bytes], source: Any, size: int, encoding: str, name: str) -> str:
    try:
        return str(source.read(size))
    except UnicodeError as error:
        raise _encoded(stream, encoding, name) from error


def _csv(stream: IO[bytes], encoding: str, name: str, delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(LONGEST)
    rows = csv.DictReader(io.TextIOWrapper(stream, encoding, newline=""), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            values = next(rows, None)
        except UnicodeError as error:
            raise _encoded(stream, encoding, name) from error
        except csv.Error as error:
            raise HarnessError(f"{name}: row {number} is no CSV ({error})") from error
        if values is None:
            return
        if number == 1:
            _check_header(list(rows.fieldnames or []), delimiter, name)
        more, fewer = None in values, None in values.values()
        wrong = f"has {'more' if more else 'fewer'} values than the header has columns" if more or fewer else ""
        yield Record(f"row {number}", None if wrong else values, wrong)


def _tsv(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    return _csv(stream, encoding, name, "\t")


def _parquet(stream: IO[bytes], encoding: str, name: str) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield _record(f"row {number}", values)
    except pyarrow.ArrowException as error:
        raise HarnessError(f"{name}: is no parquet file or is damaged after row {number} ({error})") from error


def _record(place: str, values: object) -> Record:
    if isinstance(values, dict):
        return Record(place, values)
    return Record(place, None, f"is a {type(values).__name__}; it must be an object with named fields")


def _plain(encoding: str) -> str:
    return encoding.removesuffix("-sig")


def _encoded(stream: IO[bytes], encoding: str, name: str) -> HarnessError:
    """Where a file is not in its encoding: the first line that is not, which is found by reading it once more."""
    stream.seek(0)
    for number, line in enumerate(stream if _single(encoding) else (), 1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            return HarnessError(f"{name}, line {number}: {_wrong(encoding, line, error)}")
    return HarnessError(f"{name}: is not {_plain(encoding)}; say what it is, for example encoding = 'utf-8'")


def _wrong(encoding: str, line: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a line, and what the recipe could say; UTF-16 begins with a mark of its own."""
    likely = "utf-16" if line.startswith(MARKS) else "cp1252"
    said = f"is not {_plain(encoding)} (byte 0x{line[error.start]:02x})"
    return f"{said}; give the file's own encoding, for example encoding = '{likely}'"


def _check_start(line: bytes, encoding: str, where: str) -> None:
    """The first line of a JSONL file tells where the whole is something else."""
    if line.startswith(MARKS):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            raise HarnessError(f"{where}: {_wrong(encoding, line, error)}") from error
    if _LIST.match(line):
        raise HarnessError(f"{where}: this is a JSON list, and JSONL has an object in each line; name the file .json")


def _check_header(columns: list[str], delimiter: str, name: str) -> None:
    """A header of one column that holds another delimiter is one that was not taken apart."""
    other = next((sign for sign in ",;\t" if sign != delimiter and sign in "".join(columns[:1])), "")
    if len(columns) == 1 and other:
        raise HarnessError(
            f"{name}: the header is one column, {columns[0]!r}; .csv has commas between columns, and .tsv has tabs"
        )


READERS: dict[str, Callable[[IO[bytes], str, str], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
