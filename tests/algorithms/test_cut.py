"""CUT's loss: equal to the paper's formula and to the authors' code, to what is known of it, and mistakes are caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from checks import algorithm, numbers
from cut_formulas import (
    ALPHAS,
    GAMMAS,
    ROWS,
    STEP_ROWS,
    THRESHOLDS,
    Found,
    Judged,
    appropriate_not,
    by_the_authors,
    contrast,
    judged_batch_of,
    paper,
    released,
)
from mutants import mutated
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import registry
from harness.algorithms.cut import contrast_token_losses, inappropriate
from harness.knobs import OneOf, knobs
from harness.training.forward import add_head, token_scores
from harness.training.judgments import JudgedBatch, JudgedObjective
from harness.training.rows import Encoder

TOLERANCE = 1e-8
NEVER = 1e30
"""A λ that marks nothing."""


def slopes_of(losses: Tensor, batch: JudgedBatch) -> tuple[Tensor, Tensor]:
    """Derivatives by each log-probability, plain and judged; 0 where the loss does not read it."""
    found = torch.autograd.grad(losses.sum(), [batch.logps, batch.judged_logps], allow_unused=True)
    return tuple(torch.zeros_like(batch.logps) if slope is None else slope for slope in found)  # type: ignore[return-value]  # as many as were asked for


def near(found: Tensor, expected: list[float] | Tensor, tolerance: float = TOLERANCE) -> None:
    """Equal in every entry, to the tolerance or to that share of it where it is greater than 1."""
    wanted = expected if isinstance(expected, Tensor) else torch.tensor(expected, dtype=torch.float64)
    found, wanted = found.detach(), wanted.detach()
    assert found.shape == wanted.shape
    assert bool(found.isfinite().all()), found.tolist()
    worst = float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())
    assert worst < tolerance, f"off by {worst}: {found.tolist()} is not {wanted.tolist()}"


def equals(cut: Any, rows: tuple[Judged, ...], expected: list[Found]) -> None:
    """Losses and both kinds of slopes are those of a formula, and 0 on padding, whatever stands there."""
    for outside in (0.0, -0.5):
        batch = judged_batch_of(rows, outside=outside)
        losses, _ = cut.losses(batch)
        assert losses.dtype == torch.float64
        near(losses, [loss for loss, _, _ in expected])
        for slopes, place in zip(slopes_of(losses, batch), (1, 2), strict=True):
            wanted = [[*own[place], *[0.0] * (batch.mask.shape[1] - len(own[place]))] for own in expected]
            near(slopes, torch.tensor(wanted, dtype=torch.float64))


def formula_of_paper() -> None:
    for threshold, alpha, gamma in product(THRESHOLDS, ALPHAS, GAMMAS):
        cut = algorithm("cut", threshold=threshold, alpha=alpha, gamma=gamma)
        equals(cut, ROWS, [paper(row, threshold, alpha, gamma) for row in ROWS])


def formula_of_released() -> None:
    """Whatever γ is, since the released code has none."""
    for threshold, alpha, gamma in product(THRESHOLDS, ALPHAS, (0.0, 2.0)):
        cut = algorithm("cut", form="released", threshold=threshold, alpha=alpha, gamma=gamma)
        equals(cut, ROWS, [released(row, threshold, alpha) for row in ROWS])


def marks() -> None:
    """U is that of the probabilities, and nothing of praised responses or padding is in it."""
    for threshold, form in product(THRESHOLDS, ("paper", "released")):
        batch = judged_batch_of()
        shifted = replace(
            batch, judged_logps=batch.judged_logps + 9 * (batch.judged_logps == 0)
        )  # where nothing is known
        _, marked = algorithm("cut", threshold=threshold, form=form).losses(shifted)
        assert marked.dtype == torch.bool
        width = marked.shape[1]
        for row, found in zip(ROWS, marked.tolist(), strict=True):
            own = appropriate_not(row, threshold) if row.blamed else [False] * row.n
            assert found == [*own, *[False] * (width - row.n)]


def log_space() -> None:
    """log(1 − p) of marked tokens, in both precisions: right up to certainty, and finite beyond, gradient too."""
    for dtype, finest in ((torch.float32, 24), (torch.float64, 50)):
        sizes = [1e-30, 2.0 ** -(finest + 2), 2.0**-finest, 2.0 ** -(finest - 3), 1e-4, 0.6931472, 3.0, 80.0]
        logps = torch.tensor([0.0, *(-x for x in sizes)], dtype=dtype, requires_grad=True)
        every = torch.ones(len(logps), dtype=torch.bool)
        losses = contrast_token_losses(logps, torch.zeros_like(logps), every, 1.0, 0.0)
        exact = [-math.log(-math.expm1(-max(x, 2.0**-finest))) for x in logps.detach().neg().tolist()]
        near(losses.double(), exact, 1e-6 if dtype == torch.float32 else 1e-12)
        (slopes,) = torch.autograd.grad(losses.sum(), logps)
        assert slopes.isfinite().all()
        assert slopes[:3].tolist() == [0.0, 0.0, 0.0], "certain already: no gradient, and none that is infinite"
        assert (slopes[3:-1] > 0).all(), "unlikelihood pushes down"
        surest = torch.zeros(4, dtype=dtype, requires_grad=True)
        plain = contrast_token_losses(surest, torch.zeros_like(surest), ~every[:4], 1.0, 1.0)
        assert torch.autograd.grad(plain.sum(), surest)[0].tolist() == [-1.0] * 4, "what is not marked is likelihood"


def nothing_marked_is_likelihood() -> None:
    """L1 is the mean −log p(y_t|x), whatever α and γ, and L2 the mean −log p(y_t|x,j)."""
    for alpha, gamma in product(ALPHAS, GAMMAS):
        losses, marked = algorithm("cut", threshold=NEVER, alpha=alpha, gamma=gamma).losses(judged_batch_of())
        assert not marked.any()
        near(losses, [(-sum(row.plain) - sum(row.judged)) / row.n for row in ROWS])


def without_alpha_marked_tokens_are_left_out() -> None:
    for threshold in THRESHOLDS:
        losses, marked = algorithm("cut", threshold=threshold, alpha=0.0).losses(judged_batch_of())
        batch = judged_batch_of()
        kept = (batch.logps * batch.mask * ~marked).sum(1) + batch.judged_logps.sum(1)
        near(losses, -kept / batch.mask.sum(1))


def praised_responses_are_fine_tuned_on() -> None:
    """`paper` has the mean of each response, `released` the mean over the step's tokens: nothing is halved."""
    rows = tuple(Judged(row.plain) for row in ROWS)
    losses, marked = algorithm("cut").losses(judged_batch_of(rows, alone=True))
    assert not marked.any()
    near(losses, [-sum(row.plain) / row.n for row in rows])
    losses, _ = algorithm("cut", form="released").losses(judged_batch_of(rows, alone=True))
    near(losses.mean()[None], [-sum(sum(row.plain) for row in rows) / sum(row.n for row in rows)])


def forms_agree() -> None:
    """Without γ and with blamed responses of one length, `released` is half of `paper`; praised ones are the same."""
    even = tuple(Judged(row.plain[:4], row.judged[:4]) for row in ROWS if row.n >= 4)
    blamed, praised = (tuple(row for row in even if row.blamed is kind) for kind in (True, False))
    assert len(blamed) > 1
    assert len(praised) > 1
    for threshold, alpha in product(THRESHOLDS, ALPHAS):
        knobs = {"threshold": threshold, "alpha": alpha}
        for rows, half in ((blamed, 2), (praised, 1)):
            ours, _ = algorithm("cut", gamma=0.0, **knobs).losses(judged_batch_of(rows, alone=True))
            theirs, _ = algorithm("cut", form="released", **knobs).losses(judged_batch_of(rows, alone=True))
            near(ours, half * theirs)
    for row in ROWS:  # a response by itself, as in the batches of the authors' script
        ours, _ = algorithm("cut", gamma=0.0).losses(judged_batch_of((row,), alone=True))
        theirs, _ = algorithm("cut", form="released").losses(judged_batch_of((row,), alone=True))
        near(ours, (2 if row.blamed else 1) * theirs)


Tokens = tuple[Tensor, Tensor, Tensor, Tensor]
"""Logits of the aligned and of the misaligned sequences, and the labels of each, as the authors' collator lays out."""


def tokens_of_the_authors(blamed: list[bool], lengths: list[int]) -> tuple[Tokens, list[tuple[int, int]]]:
    """Random logits for responses behind prompts of unequal length, and where each response begins in both."""
    draw = torch.Generator().manual_seed(len(blamed))
    starts = [(4 + 2 * bad + i % 3, 3 + i % 2) for i, bad in enumerate(blamed)]
    width = max(lengths) + 9
    logits = [
        (2 * torch.randn(len(blamed), width, 6, generator=draw, dtype=torch.float64)).requires_grad_() for _ in "12"
    ]
    labels = [torch.full((len(blamed), width), -100) for _ in "12"]
    for i, n in enumerate(lengths):
        response = torch.randint(0, 6, (n,), generator=draw)
        labels[0][i, starts[i][0] : starts[i][0] + n] = response
        if blamed[i]:
            labels[1][i, starts[i][1] : starts[i][1] + n] = response
    return (logits[0], labels[0], logits[1], labels[1]), starts


def side_by_side(tokens: Tokens, starts: list[tuple[int, int]], blamed: list[bool], lengths: list[int]) -> JudgedBatch:
    """Ours, of the same logits: each token's log-probability by its place, one response after the other."""
    first, labels, second, _ = tokens
    width = max(lengths)

    def logps(logits: Tensor, i: int, start: int) -> Tensor:
        place = torch.arange(lengths[i])
        own = logits[i].log_softmax(-1)[start - 1 + place, labels[i, starts[i][0] + place]]
        return torch.nn.functional.pad(own, (0, width - lengths[i]))

    plain, judged = [], []
    for i, bad in enumerate(blamed):
        plain.append(logps(second, i, starts[i][1]) if bad else logps(first, i, starts[i][0]))
        judged.append(logps(first, i, starts[i][0]) if bad else torch.zeros(width, dtype=torch.float64))
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).float()
    counts = (len(blamed), sum(n for n, bad in zip(lengths, blamed, strict=True) if bad), sum(lengths))
    return JudgedBatch(torch.stack(plain), torch.stack(judged), mask, torch.tensor(blamed), *counts)


BATCHES = {
    "mixed": ([True, False, True, True, False], [3, 6, 5, 2, 1]),
    "blamed": ([True, True, True], [4, 1, 6]),
    "praised": ([False, False, False], [4, 1, 6]),
    "one blamed": ([True], [5]),
    "one praised": ([False], [5]),
}


def authors() -> None:
    """`released` on a step is the released code on that batch, gradient by every logit included."""
    for blamed, lengths in BATCHES.values():
        tokens, starts = tokens_of_the_authors(blamed, lengths)
        for threshold, weight in product((1.1, 1.2, 1.5), (0.25, 0.5, 1.0)):
            theirs = by_the_authors(*tokens, threshold, weight)
            cut = algorithm("cut", form="released", threshold=threshold, alpha=weight, gamma=2.0)
            losses, marked = cut.losses(side_by_side(tokens, starts, blamed, lengths))
            if len(blamed) == 5:
                assert 2 < int(marked.sum()) < 8
            ours = losses.sum() / len(blamed)
            near(ours, theirs, 1e-10)
            leaves = [tokens[0], tokens[2]]
            for own, other in zip(
                *(torch.autograd.grad(x, leaves, allow_unused=True) for x in (ours, theirs)), strict=True
            ):
                assert (own is None) == (other is None)
                if own is not None and other is not None:
                    near(own, other, 1e-10)


def moved(shelf: Path) -> Any:
    """The start of the tiny world, moved away so that judgments matter to it; it gives logits and scores alike."""
    model = AutoModelForCausalLM.from_pretrained(shelf / tiny.START / "policy").double()
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def step_of_the_authors(shelf: Path) -> None:
    """A whole step on texts, from rows to the gradient of every weight, is one of the released code with our prompts."""
    tokenizer, data = AutoTokenizer.from_pretrained(shelf / tiny.START / "policy"), tiny.Tiny()
    encoder, source = Encoder(tokenizer), tiny.Tiny().rows("judgments", "train")[:8]
    rows, first, second = [], [], []
    for row in source:
        blamed, plain = row["judgment"] is not None, encoder.prompt(row)
        judged = encoder.prompt({"prompt_id": row["id"], "prompt": data.judged(row["prompt"], row["judgment"])})
        response = tokenizer(row["response"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append(
            {"prompt": plain, "judged_prompt": judged if blamed else [], "response": response, "blamed": blamed}
        )
        first.append((judged if blamed else plain, response))
        second.append((plain, response) if blamed else (plain, []))
    model, found = moved(shelf), []
    for theirs in (True, False):
        if theirs:
            width = max(len(p) + len(r) for p, r in first + second)
            sides = [*laid_out(model, first, width), *laid_out(model, second, width)]
            loss = by_the_authors(*sides, 1.1, 0.75)
        else:
            add_head(model)
            objective = JudgedObjective(algorithm("cut", form="released", alpha=0.75), tokenizer.pad_token_id)
            batch = objective.collate(rows)
            loss, logs = objective.loss(token_scores(model, batch), batch, objective.totals([batch], None))
            assert 0.1 < float(logs["marked"]) < 0.9
        model.zero_grad()
        loss.backward()
        found.append((loss.detach().double(), torch.cat([w.grad.flatten() for w in model.parameters()]).double()))
    (value, gradient), (ours, own) = found
    near(ours, value, 1e-5)
    assert gradient.norm() > 0.1
    gap = float((own - gradient).norm() / gradient.norm())
    assert gap < 1e-5, f"the gradient is off by {gap} of its length"


def laid_out(model: Any, sequences: list[tuple[list[int], list[int]]], width: int) -> tuple[Tensor, Tensor]:
    """Logits and labels of sequences, padded by hand."""
    ids = torch.tensor([p + r + [0] * (width - len(p) - len(r)) for p, r in sequences])
    seen = torch.tensor([[1] * (len(p) + len(r)) + [0] * (width - len(p) - len(r)) for p, r in sequences])
    labels = [[-100] * len(p) + r + [-100] * (width - len(p) - len(r)) for p, r in sequences]
    return model(input_ids=ids, attention_mask=seen).logits, torch.tensor(labels)


CHECKS: dict[str, Callable[[Path], None]] = {
    "paper": lambda _: formula_of_paper(),
    "released": lambda _: formula_of_released(),
    "marks": lambda _: marks(),
    "log space": lambda _: log_space(),
    "nothing marked": lambda _: nothing_marked_is_likelihood(),
    "no alpha": lambda _: without_alpha_marked_tokens_are_left_out(),
    "praised": lambda _: praised_responses_are_fine_tuned_on(),
    "forms": lambda _: forms_agree(),
    "authors": lambda _: authors(),
    "step of the authors": step_of_the_authors,
}

CUT, JUDGMENTS = "harness.algorithms.cut", "harness.training.judgments"
TOKENS, LOSSES = "contrast_token_losses", "Cut.losses"
# where, what stands there, what the mutant has, and the checks of which each must fail
TABLE: list[tuple[str, str, str, str, list[str]]] = [
    # U
    (CUT, "inappropriate", "> math.log", "< math.log", ["paper", "released", "marks", "nothing marked", "authors"]),
    (CUT, "inappropriate", "math.log(threshold)", "threshold", ["paper", "released", "marks", "authors"]),
    (CUT, "inappropriate", "math.log(threshold)", "0", ["paper", "released", "marks", "nothing marked", "authors"]),
    (CUT, "inappropriate", "judged_logps.detach() - logps.detach()", "logps.detach() - judged_logps.detach()",
     ["paper", "marks", "authors"]),
    (CUT, "inappropriate", "> math.log(threshold)", ">= math.log(threshold)", ["paper", "marks"]),
    (CUT, "inappropriate", "judged_logps.detach() - logps.detach() > math.log(threshold)",
     "judged_logps.detach().exp() - logps.detach().exp() > threshold - 1", ["paper", "marks", "authors"]),
    (CUT, LOSSES, "self.threshold", "1.1", ["paper", "released", "marks", "nothing marked"]),
    (CUT, LOSSES, " & blamed", "", ["marks"]),
    (CUT, LOSSES, "marked = inappropriate(batch.logps, batch.judged_logps, self.threshold) & (batch.mask > 0) & blamed",
     "marked = (batch.mask > 0) & blamed", ["paper", "marks", "nothing marked", "authors"]),
    # unlikelihood
    (CUT, TOKENS, "-weight * beneath", "weight * beneath", ["paper", "released", "log space", "authors"]),
    (CUT, TOKENS, "-weight * beneath", "-weight * logps", ["paper", "released", "log space", "authors"]),
    (CUT, TOKENS, "-weight * beneath", "weight * logps", ["paper", "released", "log space", "authors"]),
    (CUT, TOKENS, "torch.where(marked, -weight * beneath, -logps)", "torch.where(marked, -logps, -weight * beneath)",
     ["paper", "released", "nothing marked", "authors"]),
    (CUT, TOKENS, "torch.where(marked, -weight * beneath, -logps)", "marked * -weight * beneath - logps",
     ["paper", "no alpha", "authors"]),
    (CUT, TOKENS, "torch.where(marked, -weight * beneath, -logps)", "marked * -weight * beneath",
     ["paper", "nothing marked", "no alpha", "authors"]),
    (CUT, TOKENS, "logps.clamp(max=certain)", "logps", ["paper", "log space"]),
    (CUT, TOKENS, "logps.clamp(max=certain)", "logps.clamp(max=-1e-6)", ["paper", "log space"]),
    (CUT, TOKENS, "-torch.expm1(logps.clamp(max=certain))", "1 - logps.clamp(max=certain).exp()", ["paper", "log space"]),
    (CUT, TOKENS, "-torch.expm1(logps.clamp(max=certain))", "1 - logps.exp() + 1e-5", ["paper", "log space", "authors"]),
    # its weight
    (CUT, TOKENS, "alpha * (gamma", "(gamma", ["paper", "released", "no alpha", "authors"]),
    (CUT, LOSSES, "self.alpha", "1.0", ["paper", "released", "no alpha", "authors"]),
    (CUT, TOKENS, "gamma * judged_logps.detach()", "gamma * logps.detach()", ["paper"]),
    (CUT, TOKENS, "judged_logps.detach()", "judged_logps", ["paper"]),
    (CUT, TOKENS, "(gamma * judged_logps.detach()).exp()", "gamma * judged_logps.detach().exp()", ["paper", "released"]),
    (CUT, TOKENS, "(gamma * judged_logps.detach()).exp()", "1", ["paper"]),
    (CUT, LOSSES, "0.0 if released else self.gamma", "self.gamma", ["released", "authors"]),
    (CUT, LOSSES, "0.0 if released else self.gamma", "0.0", ["paper"]),
    # which response is in which part
    (CUT, LOSSES, "blamed * batch.judged_logps + ~blamed * batch.logps", "batch.logps",
     ["paper", "released", "nothing marked", "authors"]),
    (CUT, LOSSES, "blamed * batch.judged_logps + ~blamed * batch.logps",
     "batch.judged_logps + batch.logps", ["paper", "released", "nothing marked", "authors"]),
    (CUT, LOSSES, " + ~blamed * batch.logps", "", ["paper", "released", "praised", "authors"]),
    (CUT, LOSSES, "-((blamed * batch.judged_logps + ~blamed", "-((~blamed",
     ["paper", "released", "nothing marked", "authors"]),
    (CUT, LOSSES, "(first * batch.mask * blamed)", "(first * batch.mask)", ["paper", "released", "praised", "authors"]),
    (CUT, LOSSES, "(first * batch.mask * blamed)", "(0 * first)", ["paper", "released", "nothing marked", "authors"]),
    (CUT, LOSSES, "(first * batch.mask * blamed)", "(first * blamed)", ["paper", "released"]),
    (CUT, LOSSES, "batch.logps) * batch.mask)", "batch.logps))", ["paper", "released"]),
    (CUT, LOSSES, " & (batch.mask > 0)", "", ["marks"]),
    # what is a mean over what
    (CUT, LOSSES, "/ batch.mask.sum(1)", "/ batch.mask.sum() * len(batch.mask)", ["paper", "praised"]),
    (CUT, LOSSES, "/ batch.mask.sum(1)", "/ batch.mask.shape[1]", ["paper", "praised"]),
    (CUT, LOSSES, "/ batch.mask.sum(1)", "", ["paper", "praised", "forms"]),
    (CUT, LOSSES, "(first + second) / batch.mask.sum(1)", "(first + second) / batch.mask.sum(1) / 2",
     ["paper", "praised", "forms"]),
    (CUT, LOSSES, " / (2 if batch.step_blamed_tokens else 1)", "", ["released", "forms", "authors", "step of the authors"]),
    (CUT, LOSSES, "(2 if batch.step_blamed_tokens else 1)", "2", ["praised", "forms", "authors"]),
    (CUT, LOSSES, "max(1, batch.step_blamed_tokens)", "batch.step_tokens", ["released", "authors", "step of the authors"]),
    (CUT, LOSSES, "second / batch.step_tokens", "second / max(1, batch.step_blamed_tokens)",
     ["released", "praised", "authors", "step of the authors"]),
    (CUT, LOSSES, "pooled * batch.step_rows", "pooled * len(batch.mask)", ["released"]),
    (CUT, LOSSES, "pooled * batch.step_rows", "pooled", ["released", "praised", "authors"]),
    (CUT, LOSSES, 'self.form == "released"', 'self.form == "paper"', ["paper", "released", "praised", "authors"]),
    # the batch
    (JUDGMENTS, "JudgedObjective.totals", 'batch["lengths"][:n].sum()', 'batch["lengths"].sum()', ["step of the authors"]),
    (JUDGMENTS, "judged_batch", "found[n:])", "found[n:].flip(0))", ["step of the authors"]),
    (JUDGMENTS, "JudgedObjective.collate", "len(prompt) - 1", "len(prompt)", ["step of the authors"]),
    (JUDGMENTS, "JudgedObjective.collate", '(row["judged_prompt"], row["response"])', '(row["prompt"], row["response"])',
     ["step of the authors"]),
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_passes_without_a_mutant(name: str, shelf: Path) -> None:
    CHECKS[name](shelf)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[1]} {row[2]} as {row[3]}")
def test_every_mutant_is_caught(row: tuple[str, str, str, str, list[str]], shelf: Path) -> None:
    module, where, text, other, checks = row
    for name in checks:
        with mutated(module, where, text, other), pytest.raises(AssertionError):
            CHECKS[name](shelf)


def test_every_check_catches_a_mutant() -> None:
    assert {name for row in TABLE for name in row[4]} == CHECKS.keys()


def test_a_change_of_nothing_is_not_caught() -> None:
    with mutated(CUT, TOKENS, "-weight * beneath", "weight * -beneath"):
        formula_of_paper()


def test_the_rows_hold_what_matters() -> None:
    """Tokens in U and not for every λ, some between two λ, p near 0 and near 1, lengths from 1 on, and padding."""
    counts = [
        sum(sum(appropriate_not(row, threshold)) for row in ROWS if row.blamed) for threshold in (*THRESHOLDS, 1e6)
    ]
    assert counts == sorted(set(counts), reverse=True), "each λ marks fewer"
    assert counts[-1] > 0, "p may rise from nothing"
    inside = [
        x for row in ROWS if row.blamed for x, bad in zip(row.plain, appropriate_not(row, 1.0), strict=True) if bad
    ]
    assert max(inside) > -1e-8
    assert min(inside) < -39
    assert {row.n for row in ROWS if row.blamed} >= {1, 5, 6}
    assert {row.n for row in ROWS if not row.blamed} >= {1, 4, 7}
    assert len(ROWS) < STEP_ROWS


def test_figure_2_marks_the_a_alone() -> None:
    for threshold in (1.1, 1.2, 1.5):
        assert appropriate_not(ROWS[0], threshold) == [True, False, False, False, False, False]
        found = inappropriate(numbers(*ROWS[0].plain), numbers(*ROWS[0].judged), threshold)
        assert found.tolist() == appropriate_not(ROWS[0], threshold)


def test_neither_u_nor_the_weight_has_a_gradient() -> None:
    """The judged log-probabilities learn by L2 alone, −1/N each, and L1 by itself gives them none."""
    for alpha, gamma in ((0.0, 0.0), (1.0, 0.0), (1.0, 2.0)):
        batch = judged_batch_of()
        losses, marked = algorithm("cut", alpha=alpha, gamma=gamma).losses(batch)
        assert not marked.requires_grad
        _, judged = slopes_of(losses, batch)
        near(judged, -batch.mask.double() * batch.blamed[:, None] / batch.mask.sum(1, keepdim=True))
    first = contrast_token_losses(batch.logps, batch.judged_logps, marked, 1.0, 2.0)
    assert torch.autograd.grad(first.sum(), batch.judged_logps, allow_unused=True)[0] is None


def test_the_derivative_of_the_formula_is_its_difference() -> None:
    """The formula's slopes by hand, against its own values a little to both sides."""
    row, step = Judged((-1.2, -0.3, -0.05, -4.0), (-0.4, -0.1, -0.9, -0.2)), 1e-6
    _, slopes = contrast(row, 1.1, 0.75, 0.5)
    for place, slope in enumerate(slopes):
        sides = [
            contrast(
                replace(row, plain=(*row.plain[:place], row.plain[place] + d, *row.plain[place + 1 :])), 1.1, 0.75, 0.5
            )
            for d in (step, -step)
        ]
        assert slope == pytest.approx((sides[0][0] - sides[1][0]) / (2 * step), rel=1e-6)


def test_a_response_does_not_depend_on_the_others() -> None:
    for form in ("paper", "released"):
        whole, _ = algorithm("cut", form=form).losses(judged_batch_of())
        alone = [algorithm("cut", form=form).losses(judged_batch_of((row,)))[0] for row in ROWS]
        near(whole, torch.cat(alone))


def test_a_greater_alpha_or_a_smaller_gamma_is_a_greater_penalty() -> None:
    def loss(**given: float) -> float:
        return algorithm("cut", **given).losses(judged_batch_of(ROWS[:1]))[0].item()

    assert loss(alpha=0.25) < loss(alpha=0.5) < loss(alpha=1.0)
    assert loss(gamma=2.0) < loss(gamma=1.0) < loss(gamma=0.25) < loss(gamma=0.0)


def test_where_a_token_is_certain_ours_is_not_the_authors() -> None:
    """They add 1e-5 where 1 − p is 0, which is as if p were less than it is a step before; ours stays monotone."""
    logits = torch.tensor([[[0.0, -200.0]] * 2], dtype=torch.float64)
    labels = torch.tensor([[-100, 0]])
    theirs = by_the_authors(logits, labels, logits, labels, 0.9, 1.0)
    assert float(theirs) == pytest.approx(-math.log(1e-5) / 2)
    certain = judged_batch_of((Judged((0.0,), (1e-9,)),), alone=True, dtype=torch.float32)
    losses, marked = algorithm("cut", form="released", threshold=1.0).losses(certain)
    assert marked.all()
    assert losses.item() == pytest.approx(24 * math.log(2) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_away_tokens_stay_finite(dtype: torch.dtype) -> None:
    far = (Judged((0.0, -1e-8, -3e4, -1e-3), (-1e-3, 0.0, -1e-3, -3e4)), Judged((0.0, -2e4)))
    for form, gamma in product(("paper", "released"), GAMMAS):
        batch = judged_batch_of(far, dtype=dtype)
        losses, _ = algorithm("cut", form=form, threshold=1.0, gamma=gamma).losses(batch)
        assert losses.isfinite().all()
        assert all(slope.isfinite().all() for slope in slopes_of(losses, batch))


def test_every_choice_of_cut_is_checked() -> None:
    declared = knobs(registry.load("algorithms", "cut")).values()
    choices = {(knob.name, value) for knob in declared if isinstance(knob.valid, OneOf) for value in knob.valid.values}
    assert choices == {
        ("form", "paper"),
        ("form", "released"),
        ("misalign", "plain"),
        ("misalign", "positive_judgment"),
    }
