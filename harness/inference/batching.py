"""Work on many rows, as many at a time as memory holds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from harness.causes import classify

Result = TypeVar("Result")


PADDED = 2.0
"""Tokens of a padded batch, at most, for each token that is no padding."""


def in_batches(
    order: Sequence[int], sizes: Sequence[int], batch: int, work: Callable[[list[int]], Iterable[Result]]
) -> dict[int, Result]:
    """A result for each index.

    A batch ends early before a row that is much longer: a prompt of 1,500 tokens would pad thirty of 40 to its length.
    Where memory runs out, the same rows are tried again half as many at a time, and so are all that follow; that
    changes the last digits of float sums at most.

    Args:
        order: indices, from the shortest row to the longest.
        sizes: tokens of each row, by its index.
        batch: rows at a time, at first.
        work: gives one result for each index of a batch, in its order.

    Raises:
        RuntimeError: memory does not hold a single row; MemoryError and OSError likewise.
    """
    found: dict[int, Result] = {}
    first = 0
    while first < len(order):
        chosen = _alike(order[first : first + batch], sizes)
        results = _tried(chosen, work)
        if results is None:
            batch = len(chosen) // 2
            print(f"memory ran out with {len(chosen)} rows at a time; going on with {batch}", flush=True)
            _release()
        else:
            found.update(zip(chosen, results, strict=True))
            first += len(chosen)
    return found


def _alike(order: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """The first so many rows that may be padded to one length."""
    own = 0
    for number, i in enumerate(order):
        own += sizes[i]
        if (number + 1) * sizes[i] > PADDED * own:
            return list(order[:number])
    return list(order)


def _tried(chosen: list[int], work: Callable[[list[int]], Iterable[Result]]) -> list[Result] | None:
    """Results, or None where memory has run out; when this returns, nothing holds what the attempt had made."""
    try:
        return list(work(chosen))
    except (MemoryError, RuntimeError, OSError) as error:
        if len(chosen) == 1 or classify(error) != "out of memory":
            raise
    return None


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
