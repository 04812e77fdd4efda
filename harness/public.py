"""Texts that leave this machine, in a record, a log or a report: without its folders and its secrets."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

_BEGIN = r"(?:(?<![\w.~/%-])|(?<=\\[nt])|(?<=\s-[A-Z]))"
"""Before a root: no other path's name, but the \\n of a quoted text and the -I of a compiler."""
_NO_NAME = r"\s/\"'`<>|,;:()\[\]{}*?\\"
_WORD = rf"[^{_NO_NAME}]+"
_STEP = rf"(?:[^.{_NO_NAME}]+ (?!-)){{0,2}}{_WORD}/+"
"""A folder of a path; a name like "My Drive" has a space or two, but what follows a file is a sentence."""
_PLACE = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,15}://(?=[^/\s])[^\s\"'<>,;]*"  # first, so that nothing of a URL is taken for a path
    rf"|{_BEGIN}(?P<path>(?:~\w*/+|/+{_STEP})(?:{_STEP})*(?:{_WORD})?)"
)
"""A URL, or a path from a root or a home."""
_STEPS = re.compile(r"(?:/|%2F)+", re.IGNORECASE)
_ROOTED = re.compile(r"(?<=[^:/]/)(?:~?(?:/|%2F))+([^\s?#]*)", re.IGNORECASE)
"""What stands in a URL where a name was to be, and begins at a root or a home: https://hf.co//home/alice/model."""
_STAGE = re.compile(r"[a-z]+-[0-9a-f]{16}")
"""A stage's folder: what lies in it has the same name everywhere."""
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16})\b"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
)
"""Keys that are known by their form: of the Hugging Face hub, OpenAI, GitHub, GitLab and AWS; JSON web tokens."""
_NAME = r"(?:TOKEN|KEY|KEY_ID|SECRET|PASSWORD|PASSWD|PASS|_PWD|CREDENTIALS?)"
_SECRET = re.compile(rf"{_NAME}$")
"""Names of environment variables that hold one."""
_ASSIGNED = re.compile(rf"({_NAME}=[\"']?)(?![\"'$`/~.*])[^\s\"']{{8,}}")
"""Such a variable that is given a value which is neither another variable's, nor a command's, nor a path."""
_SAYS = r"[\"']?\s*[:=]\s*[\"']?"
_PLAIN = r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?(?!\w)|[\w.-]+/[\w.-]+(?![\w/+=])"
"""A number, or an id of a hub."""
_SET = re.compile(
    r"(?<!per_)(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)(?<!per )"
    r"((?:token|secret|password|passwd|_pwd|credentials?|(?:api|access|secret|private|auth)[_-]?key(?:[_-]?id)?)"
    rf"{_SAYS})(?![/~.]|{_PLAIN})"
    r"(?=[\w+/=.~-]{0,64}\d|hf_|sk-|gh[pousr]_|glpat-)(?=[\w+/=.~-]{0,64}[a-z])[\w+/=.~-]{8,}",
    re.IGNORECASE,
)
"""Such a name in any case, with a value that no word or name in code looks like."""
_HEADER = re.compile(
    rf"(Authorization{_SAYS}(?:Bearer|Basic|Token|ApiKey)\s+|(?:X-API-Key|X-Auth-Token|Private-Token){_SAYS})"
    r"(?![\"'$`*<{])[^\s\"']{8,}",
    re.IGNORECASE,
)
"""What a request says to be let in, where it is not the name of a variable."""
_LOGIN = re.compile(r"://[^\s/@:]*:[^\s/@]+@")
"""A user and a password before a host."""
SHORTEST, HIDDEN = 8, "***"
"""A shorter value of such a variable is a word and no secret."""


def public(text: str) -> str:
    """A text without secrets, and without this machine's folders.

    Of a path that begins at a root or a home its last part is left; of what lies below the working folder, the
    packages, $HARNESS_DATA and $HARNESS_CACHE, or in a stage's folder, the path from there. The same holds for paths in
    URLs.
    """
    text, folders = _hidden(text), _folders()
    for folder, below, itself in folders:
        if folder not in text:
            continue
        begin = rf"(?:{_BEGIN}|(?<=[^:/\s]/)){re.escape(folder)}"
        text = re.sub(rf"{begin}(?![\w./-])", itself, re.sub(rf"{begin}/+(?=[^\s/])", below, text))
    known = [folder for folder, *_ in folders if folder.count("/") > 1]
    return _PLACE.sub(lambda place: _last(place["path"]) if place["path"] else _url(place[0], known), text)


def holds_secret(line: str) -> bool:
    """Whether a shell line has a secret in it, and not the name of a variable or file that holds it."""
    return _hidden(line) != line


def _folders() -> list[tuple[str, str, str]]:
    """Folders that are known, the longest first, and what is written for what lies below one and for itself."""
    shared = [str(Path.cwd()), sys.prefix, str(Path(__file__).parents[1])]
    shared += [str(Path(value)) for name in ("HARNESS_DATA", "HARNESS_CACHE") if (value := os.environ.get(name))]
    found = {str(Path.home()): ("~/", "~"), tempfile.gettempdir(): ("~/", "~"), **dict.fromkeys(shared, ("", "."))}
    return [(one, *found[one]) for one in sorted(found, key=len, reverse=True) if len(one) > 1]


def _url(text: str, known: list[str]) -> str:
    """A URL without the folders that are in it; one of a single name, such as /root, may be its owner's."""
    for folder in known:
        quoted, after_host = re.escape(quote(folder, safe="")), rf"(://[^/\s]+/*){re.escape(quote(folder))}"
        text = re.sub(rf"{after_host}(?![\w.-])", r"\1/", re.sub(rf"{quoted}(?![\w.-])", "/", text))
    return _ROOTED.sub(lambda found: "/" + _last(found[1]), text)


def _last(path: str) -> str:
    """What others may see of a path."""
    parts = [part for part in _STEPS.split(path) if part]
    first = next((i for i, part in enumerate(parts) if _STAGE.fullmatch(part)), len(parts) - 1)
    return "/".join(parts[first:])


def _hidden(text: str) -> str:
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _LOGIN.sub(f"://{HIDDEN}@", _TOKENS.sub(HIDDEN, text))
    for pattern in (_HEADER, _ASSIGNED, _SET):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def called(source: str) -> str:
    """What tables call a model or data that a recipe names: of a path that begins at a root the last part is left."""
    return Path(source).name if source.startswith(("/", "~")) else source
