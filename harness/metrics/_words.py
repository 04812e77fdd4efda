"""What metrics take for a response's words."""

from __future__ import annotations

import re

from harness.near import UNSPACED, unspaced

_CHARACTER_OR_RUN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def words(text: str, like: str = "") -> list[str]:
    """What white space separates; of a text written without spaces, each character.

    Args:
        text: whose words.
        like: a text that is asked in its place whether it is written without spaces.
    """
    return _CHARACTER_OR_RUN.findall(text) if unspaced(like or text) else text.split()
