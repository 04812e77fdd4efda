"""What training will hold in memory, told from shapes alone, before anything is loaded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.algorithms import Algorithm
from harness.data import NoData
from harness.errors import HarnessError
from harness.job import Budget
from harness.stages import Stage, Train
from harness.stages.specs import open_algorithm, open_dataset

if TYPE_CHECKING:
    from harness.store import Store

UNGATED = frozenset({"bert", "bloom", "gpt2", "gpt_neo", "gpt_neox", "mpt", "opt", "phi", "roberta"})
"""Kinds of models whose feed-forward layers have two matrices; those of the others have a third, a gate."""
GROUP, TILE = 16, 4096
"""Rows that go through a model together on a CPU, and logits of a token that are held at once there (see
`harness.training.forward`, which a plan must not import)."""
COPIES = 9
"""Of a tile, in the backward pass of TRL's fused head on a CPU; where that is more, all logits are held once."""
SLACK, SLACK_LORA = 1.3, 1.9
"""What is saved for the backward pass takes so much more: gradients of a layer, and holes that the allocator cannot
use, which short-lived products beside every adapter leave behind. Measured: benchmarks/memory.py."""
KEPT_LOW = 3
"""Bytes of a number that is saved for the backward pass in bfloat16: norms and softmax compute in float32."""
ADAM = 3
"""Gradient and two moments of each trained weight; of a bfloat16 one the master weight and two moments."""
LOADED = 0.6e9
"""Bytes of a process that has made all imports."""


@dataclass(frozen=True)
class Shape:
    """A transformer's shape.

    Attributes:
        hidden: width of the residual stream.
        layers: their number.
        inner: width of the feed-forward layers.
        attention: width of all heads' queries.
        shared: width of all heads' keys.
        vocabulary: tokens.
        tied: whether the output's weights are those of the input.
        gated: whether the feed-forward layers have a gate.
    """

    hidden: int
    layers: int
    inner: int
    attention: int
    shared: int
    vocabulary: int
    tied: bool
    gated: bool

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's matrices."""
        own = [(self.hidden, self.attention), (self.attention, self.hidden), *[(self.hidden, self.shared)] * 2]
        return own + [(self.hidden, self.inner)] * (1 + self.gated) + [(self.inner, self.hidden)]

    @property
    def weights(self) -> int:
        """All of them; what is smaller than a matrix is left out."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * sum(one * other for one, other in self.matrices)

    def adapter(self, rank: int) -> int:
        """Weights of a LoRA adapter on every matrix."""
        return self.layers * rank * sum(one + other for one, other in self.matrices)

    def saved(self, rank: int) -> int:
        """Numbers that autograd saves for a token: inputs of matrices, of norms and of products.

        A frozen norm needs no input. Counted with saved_tensors_hooks on Llama.
        """
        wide, inner = (5, 4) if rank else (7, 4)
        inner = inner if self.gated else inner - 2
        layer = wide * self.hidden + self.attention + 2 * self.shared + inner * self.inner + rank * len(self.matrices)
        return self.layers * layer


def shape(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a model's config.json tells; None where it names no width, layers or vocabulary."""
    config = config.get("text_config") or config

    def first(*names: str) -> int:
        return int(next((config[name] for name in names if config.get(name)), 0))

    hidden, layers = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer", "num_layers")
    vocabulary, heads = first("vocab_size"), first("num_attention_heads", "n_head") or 1
    if not (hidden and layers and vocabulary):
        return None
    each = first("head_dim") or hidden // heads
    return Shape(
        hidden=hidden,
        layers=layers,
        inner=first("intermediate_size", "ffn_dim", "n_inner") or 4 * hidden,
        attention=heads * each,
        shared=(first("num_key_value_heads") or heads) * each,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", True)),
        gated=config.get("model_type") not in UNGATED,
    )


def training_bytes(model: Shape, algorithm: Algorithm, budget: Budget, device: str = "cpu") -> int:
    """Peak of what a training allocates beyond the loaded process, for rows that fill the budget's lengths.

    Args:
        model: of the policy; a start, a reward model and a value model count as of the same shape.
        algorithm: with its knobs.
        budget: lengths, micro-batch, precision, LoRA.
        device: `cpu`, or `cuda`, where all rows of a micro-batch go together and Triton holds one copy of a tile.
    """
    needed, size = algorithm.footprint(), 4 if budget.precision == "float32" else 2
    if not needed.responses:
        return model.weights * size * needed.models
    rank = budget.lora_rank if algorithm.product == "policy" else 0
    trained = model.adapter(rank) if rank else model.weights
    each = 4 * (ADAM + 1) if rank else 4 * ADAM + (size if size < 4 else 0)  # adapters and optimiser are float32
    held = size * model.weights + each * trained
    held += size * model.weights * (needed.start and not rank) + 4 * model.weights * needed.reward
    held += 4 * model.weights * (1 + ADAM) * needed.value
    rows = budget.micro_batch * needed.responses
    length = budget.max_prompt_tokens + budget.max_response_tokens
    kept = 4 if size == 4 else KEPT_LOW
    saved = (SLACK_LORA if rank else SLACK) * model.saved(rank) * kept + SLACK * model.saved(0) * 4 * needed.value
    together = rows if device == "cuda" else min(rows, GROUP)
    tile = min(model.vocabulary, TILE)
    logits = together * tile if device == "cuda" else min(rows * model.vocabulary, together * tile * COPIES)
    return int(held + saved * rows * length + 4 * length * (logits if algorithm.product == "policy" else 0))


def root_of(stage: Train) -> Train:
    """The training that a chain of starts begins with, which makes or brings the model."""
    start = stage.inputs.get("start")
    return root_of(start) if isinstance(start, Train) else stage


def needed_bytes(stage: Stage, store: Store, cost: Mapping[str, Any]) -> float | None:
    """What a finished stage needed: of a GPU its peak; on a CPU so much beyond the loaded process.

    A process holds on to what stages before took, so that on a CPU its peak says too much and its growth too little: a
    training has its estimate there, where it grew by less.

    Args:
        stage: the stage.
        store: says which shape the model has.
        cost: of its record.

    Returns:
        None where neither is known.
    """
    if "peak_device_memory_bytes" in cost:
        return float(cost["peak_device_memory_bytes"])
    known = {"peak_memory_bytes", "loaded_memory_bytes"} <= cost.keys()
    grown = float(cost["peak_memory_bytes"] - cost["loaded_memory_bytes"]) if known else None
    estimate = estimated_bytes(stage, store) if isinstance(stage, Train) and stage.dataset else None
    return max((number for number in (grown, estimate) if number is not None), default=None)


def estimated_bytes(stage: Train, store: Store) -> int | None:
    """What a plan tells; None where a plug-in, a knob or the data is not here, or nobody knows the model's shape."""
    with contextlib.suppress(HarnessError, AttributeError, TypeError, ValueError):  # a config may say anything
        model = known_shape(stage, store)
        return training_bytes(model, open_algorithm(stage.algorithm), Budget(**stage.budget)) if model else None
    return None


def known_shape(stage: Train, store: Store) -> Shape | None:
    """The shape of a training's model, as it was written or as settings tell; None where neither does."""
    file = store.folder(root_of(stage).name) / "policy" / "config.json"
    try:
        return shape(json.loads(file.read_text())) if file.is_file() else base_shape(stage)
    except (OSError, ValueError):
        return base_shape(stage)


def base_shape(stage: Train) -> Shape | None:
    """The shape of the model that a training's chain of starts begins with; None where that is not known yet."""
    while "start" in stage.inputs:
        start = stage.inputs["start"]
        if not isinstance(start, Train):
            return None
        stage = start
    dataset = open_dataset(stage.dataset) if stage.dataset else NoData()
    config = open_algorithm(stage.algorithm).configuration(dataset)
    return shape(config) if config else None
