"""Which split a prompt is in: a function of its text, of its near duplicates and of the shares."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from harness.data import SPLITS, Message
from harness.errors import HarnessError, nearest

SHARES = "train=0.5 proxy=0.1 selection=0.1 gold=0.1 tune=0.05 heldout=0.05 test=0.1"


def shares_of(text: str) -> dict[str, float]:
    """`train=0.8 test=0.2` as shares by split; they may sum to less than 1, and then some prompts are in none.

    Raises:
        HarnessError: an unknown split, one named twice, no number, or a sum above 1.
    """
    found: dict[str, float] = {}
    for part in text.split():
        name, _, share = part.partition("=")
        if name not in SPLITS or name == "pretrain":
            known = ", ".join(name for name in SPLITS if name != "pretrain")
            raise HarnessError(f"splits: there is no split '{name}'{nearest(name, SPLITS)} (known: {known})")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if name in found or not 0 <= value <= 1:
            raise HarnessError(f"splits: '{part}' must be a split, named once, and its share from 0 to 1")
        found[name] = value
    if not found or sum(found.values()) > 1 + 1e-9:
        raise HarnessError(f"splits: the shares sum to {sum(found.values()):g}; they must sum to at most 1")
    return found


def group_of(prompt: list[Message], groups: Mapping[str, str]) -> str:
    """What keeps together: the user's first turn without case and spacing, and its near duplicates.

    The turns of one conversation at different lengths begin alike, so they go to one split.

    Args:
        prompt: the conversation.
        groups: the first of its near duplicates, by the text of a first turn that has any.
    """
    own = opening(prompt)
    return groups.get(own, own)


def opening(prompt: list[Message]) -> str:
    """The user's first turn without case and spacing."""
    first = next((message["content"] for message in prompt if message["role"] == "user"), "")
    return " ".join(first.casefold().split())


def split_of(prompt: list[Message], shares: Mapping[str, float], groups: Mapping[str, str]) -> str:
    """The split of a prompt, or empty where the shares leave it out."""
    return split_named(group_of(prompt, groups), shares)


def split_named(group: str, shares: Mapping[str, float]) -> str:
    """The split of a group, or empty where the shares leave it out.

    Its hash is a number in [0, 1); splits take their shares of it in the fixed order of `SPLITS`.
    """
    digest = hashlib.sha256(b"harness split\0" + group.encode()).digest()
    point, edge = int.from_bytes(digest[:7], "big") / 2**56, 0.0
    for name in SPLITS:
        edge += shares.get(name, 0.0)
        if point < edge:
            return name
    return ""
