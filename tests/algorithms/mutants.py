"""Plant a mistake in the shipped code for the time of a `with` block."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType


@contextlib.contextmanager
def mutated(module: str, where: str, text: str, other: str) -> Iterator[None]:
    """Replace `text`, which must stand once in `function` or `Class.method`, by `other`.

    The function itself is given other code, so whoever has imported it runs the mutant too.
    """
    home = importlib.import_module(module)
    original = _find(home, where)
    own, whole = inspect.getsource(original), inspect.getsource(home)
    assert own.count(text) == 1, f"{module}.{where} holds {text!r} {own.count(text)} times"
    assert whole.count(own) == 1
    scratch = ModuleType(module)  # the whole module, since a method that calls super() needs its class around it
    exec(compile(whole.replace(own, own.replace(text, other)), str(home.__file__), "exec"), vars(scratch))
    code = original.__code__
    original.__code__ = _find(scratch, where).__code__
    try:
        yield
    finally:
        original.__code__ = code


def _find(home: ModuleType, where: str) -> FunctionType:
    found: object = home
    for name in where.split("."):
        found = getattr(found, name)
    assert isinstance(found, FunctionType)
    return found
