"""Plant a mistake in the shipped code for the time of a `with` block; and the mistakes planted in DPO's variants."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType


@contextlib.contextmanager
def mutated(module: str, where: str, text: str, other: str) -> Iterator[None]:
    """Replace `text`, which must stand once in `function` or `Class.method`, by `other`.

    The function itself is given other code, so whoever has imported it runs the mutant too.
    """
    home = importlib.import_module(module)
    original = _find(home, where)
    own, whole = inspect.getsource(original), inspect.getsource(home)
    assert own.count(text) == 1, f"{module}.{where} holds {text!r} {own.count(text)} times"
    assert whole.count(own) == 1
    scratch = ModuleType(module)  # the whole module, since a method that calls super() needs its class around it
    exec(compile(whole.replace(own, own.replace(text, other)), str(home.__file__), "exec"), vars(scratch))
    code = original.__code__
    original.__code__ = _find(scratch, where).__code__
    try:
        yield
    finally:
        original.__code__ = code


def _find(home: ModuleType, where: str) -> FunctionType:
    found: object = home
    for name in where.split("."):
        found = getattr(found, name)
    assert isinstance(found, FunctionType)
    return found


DPO = "harness.algorithms.dpo"
# as in test_mutants.py: where, what stands there, what the mutant has, and the checks of which each must fail
DPO_TABLE: list[tuple[str, str, str, str, list[str]]] = [
    # what holds DPO's policy to the reference, and per what
    (DPO, "Dpo.rewards", 'self.normalise == "tokens"', 'self.normalise == "sum"',
     ["formula of dpo", "formula of dpo tokens", "formula of dpo tokens js", "step of dpo", "step of dpo tokens"]),
    (DPO, "Dpo.rewards", "rejected / batch.rejected_tokens", "rejected / batch.chosen_tokens",
     ["formula of dpo tokens", "step of dpo tokens"]),
    (DPO, "Dpo.rewards", "chosen / batch.chosen_tokens, rejected / batch.rejected_tokens", "chosen, rejected",
     ["formula of dpo tokens", "formula of dpo tokens hinge", "step of dpo tokens"]),
    (DPO, "Dpo.rewards", "self.beta * chosen, self.beta * rejected", "chosen, rejected",
     ["formula of dpo tokens", "formula of dpo forward", "formula of dpo js", "formula of dpo alpha", "step of dpo tokens"]),
    (DPO, "divergence_scores", 'divergence == "reverse_kl"', 'divergence != "js_divergence"',
     ["formula of dpo forward", "formula of dpo alpha", "step of dpo forward_kl sigmoid", "step of dpo alpha_divergence sigmoid"]),
    (DPO, "divergence_scores", 'divergence == "reverse_kl"', 'divergence == "forward_kl"',
     ["formula of dpo", "formula of dpo forward", "step of dpo", "step of dpo forward_kl sigmoid"]),
    (DPO, "divergence_scores", 'divergence == "js_divergence"', 'divergence != "js_divergence"',
     ["formula of dpo js", "formula of dpo forward", "step of dpo js_divergence sigmoid"]),
    (DPO, "divergence_scores", "-power * log_ratio", "power * log_ratio",
     ["formula of dpo forward", "formula of dpo alpha", "step of dpo forward_kl sigmoid"]),
    (DPO, "divergence_scores", "return -bounded", "return bounded",
     ["formula of dpo forward", "formula of dpo alpha", "step of dpo alpha_divergence sigmoid"]),
    (DPO, "divergence_scores", "else alpha", "else 1 - alpha",
     ["formula of dpo alpha small", "formula of dpo tokens alpha", "step of dpo alpha_divergence sigmoid"]),
    (DPO, "divergence_scores", " / power", "", ["formula of dpo alpha", "step of dpo alpha_divergence sigmoid"]),
    (DPO, "divergence_scores", "1.0 if", "alpha if", ["formula of dpo forward", "step of dpo forward_kl sigmoid"]),
    (DPO, "divergence_scores", "logsigmoid(log_ratio)", "logsigmoid(-log_ratio)",
     ["formula of dpo js", "step of dpo js_divergence sigmoid"]),
    (DPO, "divergence_scores", "math.log(2) + ", "", ["formula of dpo tokens js", "step of dpo js_divergence sigmoid_norm"]),
    (DPO, "divergence_scores", "math.log(2)", "2 * log_ratio + math.log(2)",
     ["formula of dpo js", "step of dpo js_divergence sigmoid"]),
    (DPO, "bounded_expm1", "near.expm1()", "near.exp()", ["formula of dpo tokens forward", "formula of dpo tokens alpha"]),
    (DPO, "bounded_expm1", " + near.exp() * (x - near)", "", ["far ratios"]),
    (DPO, "bounded_expm1", "x.clamp(max=STEEPEST)", "x", ["far ratios"]),
]  # fmt: skip
