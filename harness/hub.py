"""Whether the Hugging Face hub answers: where it does not, this machine's cache is read at once, and alone."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from types import ModuleType

from harness.errors import HarnessError, NetworkError

PATIENCE_SECONDS, PROBE_SECONDS = 600.0, 5.0
"""How long a hub's silence is taken for granted, and how long an answer is waited for."""
ADVICE = "Is the id right, is there a network, and does it need `hf auth login`?"
_OFFLINE = "HF_HUB_OFFLINE"
_CLIENTS = ("httpx", "requests", "urllib3")
_LOST = re.compile("Connect|Timeout|Protocol")
"""Their errors of connections; each client has its own."""
_silent: dict[str, float] = {}
"""When a hub did not answer, by its address."""


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
    """
    from huggingface_hub import constants

    reason = str(error).strip().split("\n")[0][:300].rstrip(".") or type(error).__name__
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


def _is_of_network(error: BaseException) -> bool:
    """Whether an error, or what it came from, is one of connections."""
    name, module = type(error).__name__, type(error).__module__
    if isinstance(error, ConnectionError | TimeoutError) or (module.startswith(_CLIENTS) and _LOST.search(name)):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and _is_of_network(before)
