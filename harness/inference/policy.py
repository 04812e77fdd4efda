"""Load and save policies: a full model, or an adapter that names its base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

BASE = "base.json"
"""In an adapter's folder: `{"base": "<stage>/policy"}`, relative to the results folder, so that folders can move."""


def folders_of(folder: Path) -> list[Path]:
    """A policy's own folder, that of the base that it adapts, and so on to the full weights."""
    found, pointer = [folder], folder / BASE
    while pointer.exists():
        found.append(found[-1].parents[1] / json.loads(pointer.read_text())["base"])
        pointer = found[-1] / BASE
    return found


def base_folder(folder: Path) -> Path:
    """The folder that holds a policy's configuration and full weights: its own, or that of the base it adapts."""
    return folders_of(folder)[-1]


def load_policy(folder: Path, precision: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A policy as a plain model, an adapter merged into its base, and its tokenizer.

    A quantised base is merged into as plain weights; by itself it stays quantised. Dropout is off, in training too: a
    policy and its reference have to be the same function.

    Args:
        folder: `<results>/<stage>/policy` or `policy-step-<n>`.
        precision: `float32` or `bfloat16`, of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    pointer = folder / BASE
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not pointer.exists():
        config = _without_dropout(AutoConfig.from_pretrained(folder))
        return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype).eval(), tokenizer
    from peft import PeftModel

    base, _ = load_policy(folder.parents[1] / json.loads(pointer.read_text())["base"], precision)
    if getattr(base, "is_quantized", False):  # transformers sets it on quantised models alone
        base = _dequantised(base, dtype)
    return PeftModel.from_pretrained(base, folder).merge_and_unload().eval(), tokenizer


def _dequantised(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Quantised weights as plain ones, to merge an adapter into: the sum would be quantised again and lose most of it.

    Unproven, as all of quantisation here: it needs a GPU.
    """
    plain: PreTrainedModel = model.dequantize(dtype)
    for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):  # transformers leaves them, and trainers go by them
        vars(plain).pop(mark, None)
    return plain


def load_backbone(folder: Path, precision: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A policy without its head, or an encoder, which has none; without dropout, as `load_policy` gives it."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    if (folder / BASE).exists() or writes(AutoConfig.from_pretrained(folder)):
        policy, tokenizer = load_policy(folder, precision)
        return policy.base_model, tokenizer
    config = _without_dropout(AutoConfig.from_pretrained(folder))
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    return AutoModel.from_pretrained(folder, config=config, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)


def writes(config: PretrainedConfig) -> bool:
    """Whether saved weights have a head that writes text."""
    return any(
        name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in config.architectures or ()
    )


def _without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    config.update({name: 0.0 for name in config.to_dict() if name.endswith(("dropout", "pdrop", "dropout_prob"))})
    return config


def save_policy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: Path | None = None
) -> None:
    """Write a policy: all weights, or with `base` (the start's policy folder) an adapter and a pointer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card holds an absolute path
    if base is not None:
        (folder / BASE).write_text(json.dumps({"base": f"{base.parent.name}/{base.name}"}))
        config = folder / "adapter_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": None}))
