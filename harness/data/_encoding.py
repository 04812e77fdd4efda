"""The encoding of a text file: lines in it, and what is said of a file that is in another, or is no text."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO

from harness.errors import HarnessError

MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
GZIP, PARQUET = b"\x1f\x8b", b"PAR1\x15"
"""What such files begin with; the last byte is the first of parquet's own tables, for a column may be named PAR1."""


def is_utf8(stream: IO[bytes]) -> bool:
    """Whether a text is UTF-8 with letters beyond ASCII, as hardly any text of another encoding is by chance."""
    decoder, ascii_alone = codecs.getincrementaldecoder("utf-8")(), True
    try:
        while chunk := stream.read(1 << 16):
            if b"\0" in chunk:  # of a wide encoding
                return False
            ascii_alone = ascii_alone and chunk.isascii()
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not ascii_alone


def single(encoding: str) -> bool:
    """Whether a newline is one byte that nothing else has; in UTF-16 it is two, and 0x0a may be half of a letter."""
    return "\n".encode(_plain(encoding)) == b"\n"


def recoded(stream: IO[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Lines as UTF-8."""
    text = io.TextIOWrapper(stream, encoding, newline="\n")
    try:
        for line in text:
            yield line.encode()
    except UnicodeError as error:
        raise encoded(stream, encoding, name) from error


def _plain(encoding: str) -> str:
    return encoding.removesuffix("-sig")


def encoded(stream: IO[bytes], encoding: str, name: str) -> HarnessError:
    """Where a file is not in its encoding: the first line that is not, which is found by reading it once more."""
    begin = _begin(stream)
    for number, line in enumerate(stream if single(encoding) else (), 1):
        try:
            line.decode(encoding)
        except UnicodeError as error:
            return HarnessError(f"{name}, line {number}: {undecoded(encoding, line, error, begin)}")
    return HarnessError(f"{name}: is not {_plain(encoding)}; say what it is, for example encoding = 'utf-8'")


def undecoded(encoding: str, line: bytes, error: UnicodeError, begin: bytes) -> str:
    """What is wrong with a line, and what the recipe could say."""
    seen = f"byte 0x{line[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else str(error)
    return _another(encoding, seen, begin)


def _another(encoding: str, seen: str, begin: bytes) -> str:
    example = f"for example encoding = '{_likely(begin)}'"
    return f"is not {_plain(encoding)} ({seen}); give the file's own encoding, {example}"


def _likely(begin: bytes) -> str:
    """The encoding that the first bytes of a text speak for: a mark, or the zeros of wide letters."""
    if begin.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if begin.startswith(MARKS):
        return "utf-16"
    if b"\0\0\0" in begin[:4]:
        return "utf-32-be" if begin.startswith(b"\0") else "utf-32-le"
    if b"\0" in begin:
        return "utf-16-le" if begin[1::2].count(0) > begin[::2].count(0) else "utf-16-be"
    return "cp1252"


def _begin(stream: IO[bytes]) -> bytes:
    """The first bytes of a file, which is then read from its beginning."""
    stream.seek(0)
    begin = stream.read(64)
    stream.seek(0)
    return begin


def check_bytes(stream: IO[bytes], kind: str, encoding: str, name: str) -> None:
    """The first bytes of a text file tell where it is something else."""
    begin = _begin(stream)
    if begin.startswith(GZIP):
        raise HarnessError(f"{name}: this is a gzip file; one that is zipped once is read if it is named .{kind}.gz")
    if begin.startswith(PARQUET):
        raise HarnessError(f"{name}: this is a parquet file; name it .parquet")
    if single(encoding) and b"\0" in begin[:2]:
        raise HarnessError(f"{name}: {_another(encoding, 'there are bytes of 0 between its letters', begin)}")
