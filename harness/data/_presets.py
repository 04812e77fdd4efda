"""Datasets of the Hugging Face hub whose columns are known.

Licences are as their publishers state them; read them before you use a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    """What is known of a dataset.

    Attributes:
        view: the view that its rows are.
        licence: as the publisher states it.
        split: the hub's split that is read; the harness makes its own splits of it.
        columns: columns by field, where they are not found by themselves.
    """

    view: str
    licence: str
    split: str = "train"
    columns: dict[str, str] = field(default_factory=dict)


PRESETS = {
    "trl-lib/ultrafeedback_binarized": Preset("pairs", "MIT (UltraFeedback)"),
    "HuggingFaceH4/ultrafeedback_binarized": Preset("pairs", "MIT", "train_prefs"),
    "Anthropic/hh-rlhf": Preset("pairs", "MIT; offensive content"),
    "trl-lib/hh-rlhf-helpful-base": Preset("pairs", "MIT (hh-rlhf)"),
    "trl-lib/kto-mix-14k": Preset("binary", "MIT (argilla/dpo-mix-7k); its sources have their own"),
    "nvidia/HelpSteer2": Preset("graded", "CC-BY-4.0", columns={"response": "response", "score": "helpfulness"}),
}
