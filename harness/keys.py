"""Canonical JSON and its hash: the names of everything that is stored, and all seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import cast

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


def canonical(value: JSON) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN.

    Raises:
        ValueError: for NaN or infinity, which no key may hold.
        TypeError: for a value that is not plain JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key(value: JSON) -> str:
    """The name of a value: 16 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def seed(root: str, purpose: str) -> int:
    """A seed in [0, 2**31) for one purpose within one replicate.

    It depends on nothing else, never on an algorithm or its knobs: all contestants of a replicate
    share their start, data order and sampling noise, and adding a contestant changes no seed.

    Args:
        root: what is replicated, for example `"replicate-3"` or `"gold"`.
        purpose: for example `"order"`, `"init"`, `"sampler"`.
    """
    digest = hashlib.sha256(canonical([root, purpose]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def plain(value: object) -> JSON:
    """Tuples as lists, for values that are JSON but for that."""
    return cast(JSON, json.loads(json.dumps(value, allow_nan=False)))
