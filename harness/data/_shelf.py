"""Where a data file lies: found by the hash of its content, so that no path is in a key, a record or a log."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import cache
from harness.errors import HarnessError

MODEL_FILES = ("config.json", "*.safetensors")
"""What a model's folder has to hold."""


def folder() -> Path:
    """Where it is kept which files lie where; workers on other machines need to see it."""
    return cache.home() / "files"


def shelve(path: Path) -> str:
    """The SHA-256 of a file's content; from now on `find` knows where it lies.

    A file whose size and time have not changed since is not read again, so a plan stays quick with 2 GB. A cache that
    cannot be written will do where it knows a file with this content already.

    Raises:
        HarnessError: it cannot be read, or the cache knows no such file and cannot be written.
    """
    path = path.resolve()
    memo = folder() / f"path-{hashlib.sha256(str(path).encode()).hexdigest()}.json"
    try:
        seen = {"path": str(path), **_stat(path)}
        known = _load(memo)
        if known and {**known, "sha256": ""} == {**seen, "sha256": ""}:
            digest = str(known["sha256"])
        else:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        seen["sha256"] = digest
        with contextlib.suppress(OSError):  # without it the file is read for its hash each time
            _note(memo, seen)
        _note(folder() / f"{digest}.json", seen)
    except OSError as error:
        raise _unwritten(path, error) from error
    return digest


def _unwritten(path: Path, error: OSError) -> HarnessError:
    return HarnessError(f"{path.name}: {error.strerror or error} (the cache is $HARNESS_CACHE)")


def find(digest: str) -> Path:
    """The file with a content.

    Raises:
        HarnessError: it is not where it was, or its content has changed.
    """
    known = _load(folder() / f"{digest}.json")
    if not known:
        raise HarnessError(
            f"no data file with SHA-256 {digest[:16]}... is known here; run the recipe on this machine, with "
            "HARNESS_CACHE on a disk that workers share"
        )
    path = Path(known["path"])
    if not path.is_file():
        raise HarnessError(f"the data file {path.name} is not where the recipe found it; run the recipe again")
    if _stat(path) != {"size": known["size"], "mtime_ns": known["mtime_ns"]} and shelve(path) != digest:
        raise HarnessError(
            f"the data file {path.name} has changed since the stage was planned; run the recipe again to train on "
            "it as it is now"
        )
    return path


def kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was made once, from then on read from the cache; a cache that cannot be written is done without.

    Args:
        name: of the content and of all that it was made from.
        make: makes it.
    """
    file = folder() / f"{name}.json"
    with contextlib.suppress(OSError):
        known = _load(file)
        if known is not None:
            return known
    found = make()
    with contextlib.suppress(OSError):
        _write(file, found)
    return found


def _stat(path: Path) -> dict[str, Any]:
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _load(file: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    return None


def _note(file: Path, seen: dict[str, Any]) -> None:
    """Write where a content lies, if that is not what is known.

    A cache that cannot be written will do where it knows a place that is still there: who looks there checks it.
    """
    known = _load(file)
    if known == seen:
        return
    try:
        _write(file, seen)
    except OSError:
        if known is None or not Path(known["path"]).exists():
            raise


def _write(file: Path, value: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"draft-{uuid.uuid4().hex}-{file.name}")  # containers that share a cache share pids too
    draft.write_text(json.dumps(value))
    draft.replace(file)


def shelve_folder(path: Path, wanted: tuple[str, ...]) -> str:
    """The SHA-256 over all files of a folder; from now on `find_folder` knows where it lies.

    Args:
        path: the folder.
        wanted: patterns of which each has to be there.

    Raises:
        HarnessError: a pattern has no file, or a file or the folder is not known and the cache cannot be written.
    """
    for pattern in wanted:
        if not any(path.glob(pattern)):
            raise HarnessError(f"folder {path.name} has no {pattern}")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name != "README.md")
    content = json.dumps({file.name: shelve(file) for file in files})
    digest = hashlib.sha256(content.encode()).hexdigest()
    seen = {"path": str(path.resolve()), "wanted": list(wanted)}
    try:
        _note(folder() / f"folder-{digest}.json", seen)
    except OSError as error:
        raise _unwritten(path, error) from error
    return digest


def settled(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A model's table in which a folder stands by the hash of its files, as `{"name": "folder", "revision": hash}`.

    Args:
        given: the recipe's table; its `name` may be a folder's, or a hub's id.
        folder: that the recipe lies in; the working folder is looked into next.

    Raises:
        HarnessError: the name can only be a folder's, and there is none; or a file is missing in it.
    """
    name = str(given.get("name", ""))
    own = next((base / name for base in (folder, Path.cwd()) if name and (base / name).is_dir()), None)
    if own is not None:
        return {**given, "name": "folder", "revision": shelve_folder(own, MODEL_FILES)}
    if name.startswith((".", "/", "~")):
        raise HarnessError(f"there is no folder '{name}' beside the recipe or in the working folder")
    return dict(given)


def find_folder(digest: str) -> Path:
    """The folder with a content.

    Raises:
        HarnessError: it is not where it was, or its content has changed.
    """
    known = _load(folder() / f"folder-{digest}.json")
    if not known or not Path(known["path"]).is_dir():
        raise HarnessError("the model's folder is not where the recipe found it; run the recipe again on this machine")
    path = Path(known["path"])
    if shelve_folder(path, tuple(known["wanted"])) != digest:
        raise HarnessError(
            f"the model's folder {path.name} has changed since the stage was planned; run the recipe again"
        )
    return path
