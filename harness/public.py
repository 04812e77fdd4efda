"""Texts that leave this machine, in a record, a log or a report: without its folders and its secrets."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+(?=[\w.@+-]+/[\w.@+-]+)")
"""What comes before the last two parts of an absolute path."""
_TOKENS = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,})\b")
"""Keys that are known by their form: of the Hugging Face hub, of OpenAI, of GitHub."""
_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD)$")
"""Names of environment variables that hold one."""
SHORTEST, HIDDEN = 8, "***"
"""A shorter value of such a variable is a word and no secret."""


def public(text: str) -> str:
    """A text without secrets, and without this machine's folders: of a path the last two parts are left."""
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _TOKENS.sub(HIDDEN, text)
    for private in sorted({str(Path.cwd()), sys.prefix, str(Path.home())}, key=len, reverse=True):
        if len(private) > 1:
            text = text.replace(private + os.sep, "")
    return _FOLDERS.sub("", text)


def called(source: str) -> str:
    """What tables call a model or data that a recipe names: of a path that begins at a root the last part is left."""
    return Path(source).name if source.startswith(("/", "~")) else source
