"""Find a plug-in: the file's name is its name; listing imports nothing."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import Field, is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import HarnessError, nearest

BASES = {
    "algorithms": "Algorithm",
    "data": "Dataset",
    "metrics": "Metric",
    "models": "ModelSource",
    "executors": "Executor",
    "judges": "Judge",
    "report/figures": "Figure",
}
"""Kinds of plug-ins, and the class of `harness.<kind>` that those of a kind derive from."""
KINDS = tuple(BASES)
WITH_KNOBS = ("algorithms", "data", "models", "judges")
"""Kinds whose classes are dataclasses, for their fields are knobs."""
PLUGINS = "HARNESS_PLUGINS"
"""The variable that names folders of plug-ins outside of the package."""


class PluginError(HarnessError):
    """A plug-in's file is wrong; whoever does not need it can go on."""


def _folders(kind: str) -> list[Path]:
    """The package's own folder, then `<folder>/<kind>` for each folder in $HARNESS_PLUGINS."""
    return [Path(__file__).parent / kind] + [folder / kind for folder in _given(os.environ.get(PLUGINS, ""))]


@cache
def _given(plugins: str) -> tuple[Path, ...]:
    """The folders of $HARNESS_PLUGINS; of one that gives nothing that is said, once."""
    found = tuple(Path(part) for part in plugins.split(os.pathsep) if part)
    for folder in found:
        if not folder.is_dir():
            _tell(f"warning: {PLUGINS}: there is no folder {folder}, so nothing is taken from it")
        elif not any((folder / kind).is_dir() for kind in KINDS):
            known = ", ".join(KINDS)
            _tell(f"warning: {PLUGINS}: {folder} has none of the folders in which plug-ins lie ({known})")
    return found


@cache
def _tell(text: str) -> None:
    """Say something on stderr, once."""
    print(text, file=sys.stderr)


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind, sorted; no plug-in is imported."""
    files = (file for folder in _folders(kind) for file in sorted(folder.glob("*.py")))
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def load(kind: str, name: str) -> type[Any]:
    """The class that the file `<kind>/<name>.py` defines.

    A plug-in file defines exactly one public class of its kind that is not abstract; helpers start with an underscore.

    Raises:
        HarnessError: there is no such file.
        PluginError: it cannot be imported, or it does not define exactly one public class that is whole.
    """
    return _load(kind, name, os.environ.get(PLUGINS, ""))


def loaded(kind: str) -> dict[str, type[Any]]:
    """The classes of a kind by name; one whose file is wrong is left out, which is said on stderr, once."""
    found = {}
    for name in names(kind):
        try:
            found[name] = load(kind, name)
        except PluginError as error:
            _tell(f"warning: {error}; '{name}' is left out")
    return found


def blame(error: BaseException) -> str:
    """Of an exception that went through a file of $HARNESS_PLUGINS the place in it, as `file:line`; else nothing."""
    own = [folder.resolve() for kind in KINDS for folder in _folders(kind)[1:]]
    files = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    places = [f"{file}:{line}" for file, line in files if file.resolve().parent in own]
    return places[-1] if places else ""


@cache
def _load(kind: str, name: str, _plugins: str) -> type[Any]:
    if name not in names(kind):
        known = ", ".join(names(kind))
        raise HarnessError(f"there is no {kind.rstrip('s')} '{name}'{nearest(name, names(kind))} (known: {known})")
    module = _module(kind, name)
    package = importlib.import_module(f"harness.{kind.replace('/', '.')}")
    base: type[Any] = getattr(package, BASES[kind])
    public = [
        value
        for label, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not label.startswith("_")
        and issubclass(value, base)
    ]
    whole = [one for one in public if not inspect.isabstract(one)] or public
    if not whole:
        wanted = f"{package.__name__}.{base.__name__}"
        raise PluginError(f"{module.__file__}: it defines no public class that derives from {wanted}")
    if len(whole) > 1:
        listed = ", ".join(one.__name__ for one in whole)
        raise PluginError(
            f"{module.__file__}: a plug-in defines exactly one public class, this has {len(whole)} ({listed}); the "
            "name of a helper begins with an underscore"
        )
    if lacking := list(_lacking(kind, whole[0], base)):
        where = f"{module.__file__}:{inspect.getsourcelines(whole[0])[1]}"
        raise PluginError(f"{where}: class {whole[0].__name__} lacks {', '.join(lacking)}")
    return whole[0]


def _lacking(kind: str, owner: type[Any], base: type[Any]) -> Iterator[str]:
    """What a class of a kind has to give and does not."""
    for name in sorted(owner.__abstractmethods__):
        yield f"its method '{name}'"
    given = {name for one in owner.__mro__ for name in vars(one)}
    wanted = {name: str(kind) for one in owner.__mro__ for name, kind in inspect.get_annotations(one).items()}
    for name in (name for name, kind in wanted.items() if "ClassVar" in kind and name not in given):
        yield f"'{name}'"
    undecorated = any(isinstance(value, Field) for value in vars(owner).values())
    if kind in WITH_KNOBS and (undecorated or not is_dataclass(owner)):
        yield "@dataclass(frozen=True) above it"
    if kind == "algorithms" and owner.trains and (owner.train, owner.rounds) == (base.train, base.rounds):
        yield "its method 'train' (or 'rounds', or trains = False)"


def _module(kind: str, name: str) -> ModuleType:
    if (Path(__file__).parent / kind / f"{name}.py").exists():
        return importlib.import_module(f"harness.{kind.replace('/', '.')}.{name}")
    file = next(folder / f"{name}.py" for folder in _folders(kind) if (folder / f"{name}.py").exists())
    label = f"harness_plugins.{kind.replace('/', '.')}.{name}"
    spec = importlib.util.spec_from_file_location(label, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file}: cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[label]
        raise PluginError(f"{_place(file, error)}: {said_of(error)}; a mistake in this plug-in") from error
    return module


def _place(file: Path, error: BaseException) -> str:
    """The line of a file at which its import ended, as far as it is known."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(file)]
    if isinstance(error, SyntaxError) and error.filename == str(file) and error.lineno:
        lines.append(error.lineno)
    return f"{file}:{lines[-1]}" if lines else str(file)


def said_of(error: BaseException) -> str:
    """An exception in one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = text.strip().split("\n")[0]
    return f"{type(error).__name__}{f': {first}' if first else ''}"
