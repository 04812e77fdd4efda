"""What a judge is: asked which of two responses to a prompt is better, in both orders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from harness import registry
from harness.errors import HarnessError
from harness.knobs import Between, above, knob

if TYPE_CHECKING:
    from harness.data import Dataset, Message


@dataclass(frozen=True)
class Question:
    """One comparison in one order.

    Attributes:
        id: unique among all that a judge is asked.
        prompt: what both responses are to.
        first: the response that is shown first.
        second: the other one.
        text: the rendered template, what a chat model reads.
    """

    id: str
    prompt: list[Message]
    first: str
    second: str
    text: str


@dataclass(frozen=True)
class Asking:
    """How a judge is asked. Nothing of it is in a key: it changes no answer."""

    api_key_env: str = knob("", doc="environment variable that holds the endpoint's key; the key itself stands nowhere")
    parallel: int = knob(4, valid=Between(1, 256), doc="requests under way at once")
    retries: int = knob(5, valid=Between(0, 100), doc="how often a request that the network lost is sent again")
    backoff_seconds: float = knob(1.0, valid=Between(low=0), doc="wait before the first retry; it doubles each time")
    timeout_seconds: float = knob(120.0, valid=above(0), doc="silence after which a request is lost")
    batch: int = knob(8, valid=Between(low=1), doc="questions that a local model reads at a time")


class Judge(ABC):
    """One file each; subclasses are frozen dataclasses whose knobs, all in the key, say who judges and how."""

    version: ClassVar[int] = 1
    reads_template: ClassVar[bool] = True
    """Whether it reads words, and so a template."""

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """What a recipe says of it as knobs; as `ModelSource.settle`."""
        return dict(given)

    @abstractmethod
    def ask(
        self, questions: list[Question], dataset: Dataset, asking: Asking, note: Callable[[Question, str], None]
    ) -> None:
        """Answer every question.

        Args:
            questions: those without an answer so far.
            dataset: for its rule.
            asking: how to send them.
            note: takes each answer once, as soon as it is there and in any order, from this thread.

        Raises:
            HarnessError: it refuses what a person can mend.
            NetworkError: it cannot be reached.
        """


def judge_spec(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """A judge as JSON: source, version, and all its knobs with their defaults."""
    kind = registry.load("judges", source)
    return {"source": source, "version": kind.version, "knobs": asdict(kind(**given))}


def open_judge(spec: dict[str, Any]) -> Judge:
    """The judge of a spec.

    Raises:
        HarnessError: this code has another version of it than the spec.
    """
    kind = registry.load("judges", spec["source"])
    if kind.version != spec["version"]:
        raise HarnessError(
            f"judge '{spec['source']}' is version {kind.version} in this code, but the stage asks for version "
            f"{spec['version']}; run the recipe again to make stages of the present version"
        )
    return cast(Judge, kind(**spec["knobs"]))
