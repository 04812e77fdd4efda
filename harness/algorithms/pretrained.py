"""Weights that somebody else has trained, brought into the form that everything here reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs
from harness.knobs import OneOf, knob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.data import Dataset
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Pretrained(Algorithm):
    """Nothing is trained: weights of the hub, of a folder or of a GGUF file are written once as safetensors.

    It comes from no paper. The chat template is checked, and a padding token is found that ends no response.
    """

    needs: ClassVar[Needs] = Needs(data="", start=False)

    name: str = knob("", doc="the hub's id, 'smollm2-135m', 'all-minilm-l6-v2', or 'folder'")
    revision: str = knob("", doc="of the hub: branch, tag or commit; of a folder, the SHA-256 of its files")
    template: str = knob("", doc="the chat template: empty for the model's own, a name, or Jinja")
    remote_code: bool = knob(False, doc="run Python code that comes with the model")
    kind: str = knob(
        "decoder", valid=OneOf(("decoder", "encoder")), later=True, doc="an encoder can only be a reward model's base"
    )

    bits: int = knob(0, valid=OneOf((0, 4, 8)), later=True, doc="quantised by bitsandbytes; 0: not")

    def configuration(self, dataset: Dataset) -> Mapping[str, Any] | None:
        """Where its config.json is on this machine."""
        from harness.inference.loading import configuration

        return configuration(self.name, self.revision)

    def footprint(self) -> Footprint:
        """Weights that are written again."""
        return Footprint(responses=0)

    def train(self, job: Job) -> list[Measurement]:
        """Write `policy/`.

        Raises:
            HarnessError: the weights cannot be had, or the chat template cannot be trusted.
        """
        from harness.inference.loading import bring, bring_encoder

        if self.kind == "encoder":
            return bring_encoder(job.out / "policy", self.name, self.revision)
        return bring(
            job.out / "policy",
            self.name,
            self.revision,
            self.template,
            self.remote_code,
            job.budget.precision,
            self.bits,
        )
