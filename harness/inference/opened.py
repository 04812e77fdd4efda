"""Policies as evaluation reads them: on the device, and kept in memory for the next stage of the same process.

Sample, Grade and Bench of a policy follow one another in a warm worker; each reads the weights and changes nothing in
them, so they are loaded once.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.inference.policy import folders_of, load_policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEPT = 2
"""Models at a time: a policy and its start."""
_kept: OrderedDict[tuple[Any, ...], PreTrainedModel] = OrderedDict()


def device() -> str:
    """Where evaluation computes. Unproven on a GPU: nobody has run it on one yet."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def open_policy(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A policy in float32, to be read and not to be changed, and a tokenizer of the caller's own.

    Args:
        folder: `<results>/<stage>/policy` or `policy-step-<n>`.
    """
    from transformers import AutoTokenizer

    content = _content(folder)
    if content not in _kept:
        model, tokenizer = load_policy(folder)
        _kept[content] = model.to(device())
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return _kept[content], tokenizer
    _kept.move_to_end(content)
    return _kept[content], AutoTokenizer.from_pretrained(folder)


def close_policies() -> None:
    """Give the memory back; whoever trains next needs it."""
    _kept.clear()


def _content(folder: Path) -> tuple[Any, ...]:
    """What tells whether a policy's files are still the ones that were read."""
    files = [file for one in folders_of(folder.absolute()) for file in sorted(one.iterdir())]
    seen = ((file, file.stat()) for file in files)
    return tuple((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in seen)
