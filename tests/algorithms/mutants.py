"""Change the shipped source of one function for the time of a `with` block."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator


@contextlib.contextmanager
def mutated(module: str, where: str, text: str, other: str) -> Iterator[None]:
    """Replace `text` by `other` in the source of `function` or `Class.method`, in the module itself."""
    home = importlib.import_module(module)
    owner, _, name = where.rpartition(".")
    holder = getattr(home, owner) if owner else home
    original = getattr(holder, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert text in source, f"{module}.{where} no longer holds {text!r}"
    # super() needs the class's own cell, which a function made outside of it has not
    changed = source.replace(text, other).replace("super()", f"super({owner}, self)")
    scope = dict(vars(home))
    exec(changed, scope)
    setattr(holder, name, scope[name])
    try:
        yield
    finally:
        setattr(holder, name, original)
