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
_ASSIGNED = re.compile(r"(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD)=[\"']?(?![\"'$`/~.])[^\s\"']{8,}")
"""Such a variable that is given a value which is neither another variable's, nor a command's, nor a path."""
SHORTEST, HIDDEN = 8, "***"
"""A shorter value of such a variable is a word and no secret."""


def public(text: str) -> str:
    """A text without secrets, and without this machine's folders: of a path the last two parts are left."""
    text = _hidden(text)
    for private in sorted({str(Path.cwd()), sys.prefix, str(Path.home())}, key=len, reverse=True):
        if len(private) > 1:
            text = text.replace(private + os.sep, "")
    return _FOLDERS.sub("", text)


def holds_secret(line: str) -> bool:
    """Whether a shell line has a secret in it, and not the name of a variable or file that holds it."""
    return _hidden(line) != line or _ASSIGNED.search(line) is not None


def _hidden(text: str) -> str:
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _TOKENS.sub(HIDDEN, text)


def called(source: str) -> str:
    """What tables call a model or data that a recipe names: of a path that begins at a root the last part is left."""
    return Path(source).name if source.startswith(("/", "~")) else source
