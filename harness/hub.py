"""Whether the Hugging Face hub answers: where it does not, this machine's cache is read at once, and alone."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import time
from collections.abc import Iterator
from types import ModuleType

from harness.causes import classify
from harness.errors import HarnessError, NetworkError

PATIENCE_SECONDS, PROBE_SECONDS = 600.0, 5.0
REMEMBERED_SECONDS = 60.0
"""So long a refusal holds: the questions before a run follow one another, and a hub may recover."""
"""How long a hub's silence is taken for granted, and how long an answer is waited for."""
ADVICE = "Is the id right, is there a network, and does it need `hf auth login`?"
_OFFLINE = "HF_HUB_OFFLINE"
_CLIENTS = ("httpx", "requests", "urllib3")
_LOST = re.compile("Connect|Timeout|Protocol")
"""Their errors of connections; each client has its own."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_TOO_MANY, _BROKEN = 429, 500
"""A status of HTTP by which a hub puts off, and the first by which it says that it is out of order."""
_silent: dict[str, float] = {}
"""When a hub did not answer, by its address."""
_refused: dict[tuple[str, ...], tuple[float, type[HarnessError], str]] = {}
"""When this process was refused something, and what was said."""


@contextlib.contextmanager
def once(*asked: str) -> Iterator[None]:
    """The block in which one thing is asked for, which is not asked for again for a while: a refusal can take a minute.

    Args:
        asked: all that tells this thing from others.

    Raises:
        HarnessError: what the block raised, now or not long ago.
    """
    when, kind, said = _refused.get(asked, (0.0, HarnessError, ""))
    if said and time.monotonic() - when < REMEMBERED_SECONDS:
        raise kind(said)
    try:
        yield
    except HarnessError as error:
        _refused[asked] = time.monotonic(), type(error), str(error)
        raise


@contextlib.contextmanager
def asking(*libraries: ModuleType) -> Iterator[None]:
    """The block in which something asks the hub.

    The hub's own client tries six times with pauses, for every file, and tells of each. Here a hub that does not answer
    one question is not asked.

    Args:
        libraries: modules with a switch of their own, `HF_HUB_OFFLINE`.
    """
    from huggingface_hub import constants

    logger = logging.getLogger("huggingface_hub")
    level, switches = logger.level, [(one, getattr(one, _OFFLINE)) for one in (constants, *libraries)]
    logger.setLevel(logging.ERROR)
    try:
        if not _answers():
            for module, _ in switches:
                setattr(module, _OFFLINE, True)
        yield
    finally:
        logger.setLevel(level)
        for module, switch in switches:
            setattr(module, _OFFLINE, switch)


def refusal(error: Exception, begin: str, end: str, local: bool = False) -> HarnessError:
    """What to raise for an error of the block: a NetworkError where another attempt may do.

    Args:
        error: what came.
        begin: who cannot have what.
        end: what would be right.
        local: what was read lies on this machine.

    Raises:
        Exception: the error, or what it came from, where this machine has no memory or no room left.
    """
    from huggingface_hub import constants

    for one in _chain(error):
        if classify(one) == "out of memory" or (isinstance(one, OSError) and one.errno in _NO_ROOM):
            raise one
    reason = _reason(error, local)
    uncached = constants.HF_HUB_OFFLINE and isinstance(error, OSError)
    kind = NetworkError if not local and (uncached or _is_of_network(error)) else HarnessError
    return kind(f"{begin}: {reason}. {end}")


def _answers() -> bool:
    """Whether the hub may be asked, and is there; a silent one is not asked again for a while."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    address, now = constants.ENDPOINT, time.monotonic()
    if address not in _silent or now - _silent[address] > PATIENCE_SECONDS:
        try:
            get_session().head(address, timeout=PROBE_SECONDS)
        except Exception:  # each client of HTTP has its own
            _silent[address] = now
        else:
            _silent.pop(address, None)
    return address not in _silent


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    one, seen = error, set[int]()
    while one is not None and id(one) not in seen:  # two can each come from the other
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _reason(error: Exception, local: bool) -> str:
    """What an error says, in one line."""
    out_of_order = [] if local else [status for status in _statuses(error) if _passes(status)]
    if out_of_order:  # libraries call it a missing file
        return f"the hub answers with status {out_of_order[0]}"
    lines = [line.strip() for line in str(error).strip().split("\n")]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if isinstance(error, KeyError):  # it says the key alone
        said = f"there is no {said}"
    return said[:300].rstrip(".") or type(error).__name__


def _statuses(error: BaseException) -> list[int]:
    """With which status of HTTP the hub has answered, where an error came from that."""
    found = (getattr(getattr(one, "response", None), "status_code", None) for one in _chain(error))
    return [status for status in found if isinstance(status, int)]


def _passes(status: int) -> bool:
    """Whether a status may be another one later."""
    return status == _TOO_MANY or status >= _BROKEN


def _is_of_network(error: BaseException) -> bool:
    """Whether an error, or what it came from, is one of connections, or of a hub that cannot answer now."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    statuses, chain = _statuses(error), list(_chain(error))
    if any(map(_passes, statuses)) or any(map(_is_lost, chain)):
        return True
    return not statuses and any(isinstance(one, LocalEntryNotFoundError) for one in chain)


def _is_lost(error: BaseException) -> bool:
    name, module = type(error).__name__, type(error).__module__
    lost = module.startswith(_CLIENTS) and _LOST.search(name) is not None
    return lost or isinstance(error, ConnectionError | TimeoutError)
