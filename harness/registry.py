"""Find a plug-in: the file's name is its name; listing imports nothing."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import HarnessError, nearest

KINDS = ("algorithms", "data", "metrics", "models", "executors", "judges", "report/figures")


def _folders(kind: str) -> list[Path]:
    """The package's own folder, then `<folder>/<kind>` for each folder in $HARNESS_PLUGINS."""
    extra = [Path(p) for p in os.environ.get("HARNESS_PLUGINS", "").split(os.pathsep) if p]
    return [Path(__file__).parent / kind] + [folder / kind for folder in extra]


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind, sorted; no plug-in is imported."""
    files = (file for folder in _folders(kind) for file in sorted(folder.glob("*.py")))
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def load(kind: str, name: str) -> type[Any]:
    """The class that the file `<kind>/<name>.py` defines.

    A plug-in file defines exactly one public class that is not abstract; helpers start with an underscore.

    Raises:
        HarnessError: there is no such file, or it does not define exactly one public class.
    """
    return _load(kind, name, os.environ.get("HARNESS_PLUGINS", ""))


@cache
def _load(kind: str, name: str, _plugins: str) -> type[Any]:
    if name not in names(kind):
        known = ", ".join(names(kind))
        raise HarnessError(f"there is no {kind.rstrip('s')} '{name}'{nearest(name, names(kind))} (known: {known})")
    module = _module(kind, name)
    public = [
        value
        for label, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not label.startswith("_")
        and not inspect.isabstract(value)
        and any(base.__module__.startswith("harness.") for base in value.__mro__[1:])
    ]
    if len(public) != 1:
        raise HarnessError(f"{module.__file__}: a plug-in defines exactly one public class, this has {len(public)}")
    return public[0]


def _module(kind: str, name: str) -> ModuleType:
    if (Path(__file__).parent / kind / f"{name}.py").exists():
        return importlib.import_module(f"harness.{kind.replace('/', '.')}.{name}")
    file = next(folder / f"{name}.py" for folder in _folders(kind) if (folder / f"{name}.py").exists())
    label = f"harness_plugins.{kind.replace('/', '.')}.{name}"
    spec = importlib.util.spec_from_file_location(label, file)
    if spec is None or spec.loader is None:
        raise HarnessError(f"{file}: cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    spec.loader.exec_module(module)
    return module
