"""A word-level tokenizer and a small Llama, from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Dataset

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
ROLES = {"system": "<system>", "user": "<user>", "assistant": "<assistant>"}
POSITIONS = 512

# Words are joined by single spaces; the end token closes every turn, so a model learns to stop.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} <{{ m['role'] }}> {{ m['content'] }} {{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)


def new_tokenizer(dataset: Dataset) -> PreTrainedTokenizerBase:
    """A tokenizer whose tokens are the dataset's words.

    Raises:
        HarnessError: the dataset's vocabulary is not a closed list.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = dataset.vocabulary()
    if words is None:
        raise HarnessError(
            f"{type(dataset).__name__} has no closed vocabulary to make the lab model's tokenizer from; "
            "name a [[model]] for your own data"
        )
    tokens = [PAD, BEGIN, END, UNKNOWN, *ROLES.values(), *words]
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES.values()), model_max_length=POSITIONS,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def configuration(dataset: Dataset, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    """What `new_model` with the dataset's tokenizer will have in its config.json, as far as it has to do with size."""
    return {
        "vocab_size": 4 + len(ROLES) + len(dataset.vocabulary() or ()),
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": True,
    }


def new_model(
    tokenizer: PreTrainedTokenizerBase, hidden: int, layers: int, heads: int, seed: int, precision: str
) -> PreTrainedModel:
    """A Llama with tied embeddings and random weights.

    Args:
        tokenizer: gives the vocabulary and the special tokens.
        hidden: width; the feed-forward layers are three times as wide.
        layers: their number.
        heads: attention heads.
        seed: of the weights.
        precision: `float32` or `bfloat16`.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    if hidden % heads:
        raise HarnessError(f"pretrain.heads is {heads}, which does not divide pretrain.hidden = {hidden}")
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).to({"float32": torch.float32, "bfloat16": torch.bfloat16}[precision])
