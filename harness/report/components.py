"""Where the noise of a comparison comes from, and what there would have to be more of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.sheet import Row, Sheet, Shown, listed, make_frame, named, number
from harness.report.sheets import ID_MEANINGS

if TYPE_CHECKING:
    from harness.report.compare import Comparison
    from harness.stats.components import Component, Components

_FRAME = {
    **{"setting": "string", "component": "string", "shared": "boolean"},
    **dict.fromkeys(("variance", "estimate"), "Float64"),
    **{"many": "Int64", "in_difference": "Float64", "share": "Float64"},
    **dict.fromkeys(("contestants", "seeds", "prompts", "samples"), "Int64"),
    "note": "string",
}
_MEANINGS = {
    "setting": ID_MEANINGS["setting"],
    "component": "what varies; see docs/statistics.md",
    "shared": "true: it is alike for all contestants, and cancels in a difference between two",
    "variance": "gold's variance between two of them, in squared start-sd; 0 where the estimate is negative",
    "estimate": "the unbiased estimate itself, which is negative at times where there is little variance",
    "many": "how many of them a contestant's mean is over",
    "in_difference": "its part of the variance of a difference between two contestants, mean over all pairs",
    "share": "that part as a share of the whole variance of the difference",
    **{"contestants": "contestants that it is from", "seeds": "seeds that all of them have"},
    **{"prompts": "prompts", "samples": "samples of a prompt"},
    "note": "where the variance is not the estimate, or holds something else too",
}
_NAMES = {
    "seed": ("seed", "contestant × seed"),
    "prompt": ("prompt", "contestant × prompt"),
    "cell": ("seed × prompt", "contestant × seed × prompt"),
    "response": ("response", "contestant × response"),
}
_WORDS = {name: own for name, (_, own) in _NAMES.items()} | {"response": "sampling within a prompt"}
ALIKE = 0.05
"""Ways that save almost the same share of the variance count as alike, and that without training is named."""
_UNKNOWN = "Where the noise comes from cannot be told: it takes two contestants that share two seeds, and two prompts."


def components_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """A row per component of each setting."""
    shown = [
        Shown("component", lambda row: row["component"], kind="word"),
        Shown("variance, start-sd²", lambda row: number(row["variance"], 4)),
        Shown("how many in a mean", lambda row: f"{row['many']:,}"),
        Shown("in the variance of a difference", lambda row: number(row["in_difference"], 5)),
        Shown("share", lambda row: f"{number(100 * row['share'], 0)} %"),
        Shown("note", lambda row: row["note"] or "", kind="prose", optional=True),
    ]
    caption = (
        "Variance components of the gold reward, means over the contestants: estimates without an interval, since "
        "none holds for noise of any kind. What varies from response to response is sampling within a prompt."
    )
    known = [(one.name, one.components) for one in comparisons if one.components]
    rows = [_row(setting, found, own) for setting, found in known for own in found.parts]
    return Sheet("components", caption, make_frame(rows, _FRAME), _MEANINGS, shown, part=part, group=_group)


def _group(row: Row) -> str:
    if row["shared"]:
        return "Alike for all contestants: cancels in a difference"
    return "Each contestant's own: makes the noise of a difference"


def _row(setting: str, found: Components, part: Component) -> dict[str, Any]:
    estimate = float(part.variance)
    return {
        **{"setting": setting, "component": _name(part), "shared": part.shared, "estimate": estimate},
        **{
            "variance": max(estimate, 0.0),
            "many": part.many,
            "in_difference": float(part.in_difference),
            "share": found.share(part),
        },
        **{"contestants": len(found.contestants), **found.sizes, "note": _note(part, found, estimate)},
    }


def _name(part: Component) -> str:
    common, own = _NAMES[part.source]
    return common if part.shared else own


def _note(part: Component, found: Components, estimate: float) -> str:
    notes = ["the estimate is negative, so that none is seen"] if estimate < 0 else []
    notes += ["sampling included, with one sample a prompt"] * (part.source == "cell" and found.sizes["samples"] == 1)
    return "; ".join(notes)


def components_points(comparison: Comparison) -> list[str]:
    """What makes the noise of a difference, largest first, and what would lower it most."""
    found = comparison.components
    if found is None:
        return [_UNKNOWN]
    own = sorted((part for part in found.parts if not part.shared), key=found.share, reverse=True)
    variance = sum(float(part.in_difference) for part in own)
    if not variance:
        return ["No noise is seen in the differences between contestants."]
    words = _WORDS | ({"cell": f"{_WORDS['cell']} with sampling"} if found.sizes["samples"] == 1 else {})
    said = listed([f"{_percent(found.share(part))} is {words[part.source]}" for part in own])
    without = f" Without {named(list(found.left_out))}, who lack seeds of the others." if found.left_out else ""
    return [
        f"A difference between two contestants has a standard error of {number(variance**0.5, 3)} start-sd, the root "
        f"mean square over all pairs. Of its variance {said}.{without}",
        _advice(found),
    ]


def _advice(found: Components) -> str:
    """What twice as many seeds, prompts or samples would save of the standard error, and which of them to take."""
    saved = {what: found.saved(what) for what, many in found.sizes.items() if what != "samples" or many > 1}
    told = listed([f"{_percent(1 - (1 - less) ** 0.5)} lower with twice the {what}" for what, less in saved.items()])
    best, *others = [what for what in reversed(saved) if saved[what] > max(saved.values()) - ALIKE]
    most = "help about as much as anything" if others else "help most"
    price = "they alone need training" if best == "seeds" else "need no training"
    single = "" if "samples" in saved else " With one sample a prompt, what more would do cannot be told."
    return f"The standard error would be {told}: more {best} {most}, and {price}.{single}"


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)} %"
