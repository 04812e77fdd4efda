"""What an algorithm is: what it needs, where it comes from, its knobs, and how it trains."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.data import Dataset
    from harness.job import Budget, Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Paper:
    """Where an algorithm comes from: `equation` is what the loss can be checked against."""

    authors: str
    title: str
    arxiv: str
    equation: str = ""


@dataclass(frozen=True)
class Needs:
    """What must be there before an algorithm can run.

    Attributes:
        data: the view of the dataset that it trains on.
        start: False where it makes its own weights.
        reference: it needs log-probabilities of its data under the start.
        reward: it needs a proxy reward model.
        judge: it needs judgments of new responses.
        annotators: it needs preferences between new responses.
    """

    data: str
    start: bool = True
    reference: bool = False
    reward: bool = False
    judge: bool = False
    annotators: bool = False


@dataclass(frozen=True)
class Round:
    """One round of a method that makes its own data, as the plan lays it out in stages.

    The policy so far gives responses, they are labelled, a new reward model is trained where one is asked for, and
    the policy is trained on.

    Attributes:
        view: what is made of the responses: `pairs`, `rankings`, `judgments` or `refinements`; empty for none.
        labeller: `oracle`, `reward`, `annotators` or `judge`.
        samples: K, responses to a prompt.
        train: the algorithm that trains from the policy so far.
        knobs: its knobs.
        relabel: train a reward model on all labels so far, and give it to `train` as its proxy.
    """

    view: str
    labeller: str
    samples: int
    train: str
    knobs: dict[str, Any]
    relabel: bool = False


@dataclass(frozen=True)
class Footprint:
    """What training holds in memory beside the policy.

    Attributes:
        responses: to a prompt of the budget that go through the policy with a gradient; 0 where nothing is trained.
        start: whether the start is there too; with LoRA it is the policy without its adapter.
        reward: whether a reward model is.
        value: whether a value model of a network of its own is, which is trained.
    """

    responses: int
    start: bool = False
    reward: bool = False
    value: bool = False

    @property
    def models(self) -> int:
        """Models in memory at once, where weights are tuned in full."""
        return 1 + self.start + self.reward + self.value


class Algorithm(ABC):
    """One frozen dataclass per file, whose fields are its knobs.

    An option of the paper is a knob; another paper is another file. Most give `train`. What makes its own data gives
    `rounds`, and what trains nothing sets `trains = False` and gives a `procedure`.
    """

    paper: ClassVar[Paper | None] = None
    needs: ClassVar[Needs]
    product: ClassVar[str] = "policy"
    """`policy` or `reward`."""
    version: ClassVar[int] = 1
    """Raise it when the same knobs would train another model."""
    rows_per_prompt: ClassVar[int] = 1
    """Rows of its view that one prompt of the budget stands for: KTO's two labelled responses are one pair."""

    trains: ClassVar[bool] = True
    """False where the start itself is used, in a way of its own."""
    start: ClassVar[str] = ""
    """The only start that makes sense for it; empty where the recipe's do."""

    def requires(self) -> Needs:
        """What these knobs need."""
        return self.needs

    def contradiction(self) -> str:
        """What is wrong with these knobs together, and what would be right; empty where nothing is."""
        return ""

    def unsuited(self, budget: Budget) -> str:
        """Why these knobs cannot train with a budget, and what would be right, after the name; empty where they can."""
        return ""

    def footprint(self) -> Footprint:
        """What is in memory while it trains or, where it trains nothing, answers.

        Log-probabilities of fixed data under the start are computed beforehand and need no model here.
        """
        return Footprint(responses=int(self.trains))

    def configuration(self, dataset: Dataset) -> Mapping[str, Any] | None:
        """Of a model that it makes or brings: its config.json, as far as that is known without loading it; else None.

        Args:
            dataset: whose words a new tokenizer would have.
        """
        return None

    def procedure(self) -> dict[str, Any]:
        """How the policy is used: a name of `harness.inference.systems.PROCEDURES`, and its options."""
        return {"name": "plain"}

    @property
    def is_plain(self) -> bool:
        """Whether the policy is used by its plain prompt, so that what is measured of it is of its responses."""
        return bool(self.procedure()["name"] == "plain")

    def rounds(self) -> tuple[Round, ...]:
        """Rounds in place of a training on the dataset's rows; the optimiser steps are shared out among them."""
        return ()

    def train(self, job: Job) -> list[Measurement]:
        """Train from `job` alone and write the product into `job.out` alone.

        Returns:
            What was spent and seen: `trained_tokens`, `responses`, `labels`, `steps`, final losses.

        Raises:
            FloatingPointError: the loss or the weights are no longer finite.
            HarnessError: it trains nothing by itself.
        """
        raise HarnessError(f"{type(self).__name__} trains nothing by itself: it is made of other stages")
