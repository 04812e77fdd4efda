"""What recipes may say of metrics: those that there are, and their roles."""

from __future__ import annotations

from harness import registry
from harness.errors import nearest

ROLES = {
    "reward": ("selection", "proxy", "gold", "oracle"),
    "greedy": ("gold", "oracle"),
    "hard_win_chosen": ("gold", "oracle"),
    "soft_win_chosen": ("gold",),
    "chosen_logp": ("", "after", "before"),
    "rejected_logp": ("", "after", "before"),
    "blame_threshold": ("precision", "recall"),
}
"""Roles of values; an empty one is none, and all that other metrics here have. `oracle` may have a dimension."""


def unknown(name: str, others: tuple[str, ...] = ()) -> str:
    """Of a name that is no metric's, nor one of the others that are allowed; nothing where it is one."""
    known = (*others, *registry.names("metrics"))
    return "" if name in known else f"there is no metric '{name}'{nearest(name, known)} (known: {', '.join(known)})"


def roles_of(name: str) -> tuple[str, ...] | None:
    """Roles that the values of a metric may have; None where that is not known, as of a plug-in's metric."""
    own = registry.load("metrics", name).__module__.startswith("harness.metrics.")
    return ROLES.get(name, ("",)) if own else None


def wrong_role(name: str, role: str, among: tuple[str, ...] | None) -> str:
    """What would be right where a metric has no value of a role; nothing where it may have one."""
    if among is None or role in among or ("oracle" in among and role.startswith("oracle.")):
        return ""
    return f"it must be {' or '.join(f'{name}/{one}' if one else name for one in among)}"
