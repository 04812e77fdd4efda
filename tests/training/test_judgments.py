"""What becomes of judged responses on their way into a step: rows, batches, marks, second tries; mistakes are seen."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness import registry
from harness.algorithms.cut import inappropriate
from harness.data import Message, Row
from harness.errors import HarnessError
from harness.inference import collecting
from harness.inference.policy import load_policy
from harness.inference.rendering import render_prompt, render_response
from harness.inference.sampling import Sampled
from harness.training import judgments, pairs, sequences
from harness.training.forward import add_head, token_scores
from harness.training.judgments import (
    Agreement,
    JudgedBatch,
    JudgedObjective,
    Several,
    agreement,
    fewer_praised,
    judged_batch,
    marked,
)
from harness.training.road import train

DATA = tiny.Tiny()
ROWS = DATA.rows("judgments", "train")[:8]
THRESHOLD = 1.1

Mutate = Callable[[str, str, str, str], AbstractContextManager[None]]


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> Mutate:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "algorithms"))
    import mutants

    return mutants.mutated


@cache
def tokenizer_of(shelf: Path) -> Any:
    return AutoTokenizer.from_pretrained(shelf / tiny.START / "policy")


@cache
def moved(shelf: Path) -> Any:
    """The start with a head, moved away so that judgments matter to it."""
    model, _ = load_policy(shelf / tiny.START / "policy")
    add_head(model)
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


def on_the_road(name: str, shelf: Path, knobs: dict[str, Any] | None = None, **given: Any) -> tuple[list[Any], Any]:
    """The rows and the objective that an algorithm would train with; it does not."""
    found: list[tuple[list[Any], Any]] = []

    def caught(job: Any, rows: list[Any], objective: Any, *, learning_rate: float) -> list[Any]:
        assert learning_rate == registry.load("algorithms", name)(**(knobs or {})).learning_rate
        found.append((rows, objective))
        return []

    with pytest.MonkeyPatch.context() as patch:
        for module in (judgments, sequences, pairs):
            patch.setattr(module, "train", caught)
        tiny.train(name, shelf, shelf, knobs, **given)
    return found[0]


def cut_rows(shelf: Path, **knobs: Any) -> tuple[list[dict[str, Any]], JudgedObjective]:
    return on_the_road("cut", shelf, knobs, rows=ROWS)


def asked(shelf: Path, conversation: list[Message]) -> list[int]:
    return render_prompt(tokenizer_of(shelf), conversation)


def said(shelf: Path, text: str) -> list[int]:
    return render_response(tokenizer_of(shelf), text)


# the batch


def one_by_one(shelf: Path, prompt: list[int], response: list[int]) -> list[float]:
    """log p of each response token, by plain transformers and without any padding."""
    logits = moved(shelf)(input_ids=torch.tensor([prompt + response])).logits[0].double()
    logps = logits.log_softmax(-1)
    return [float(logps[len(prompt) - 1 + t, token]) for t, token in enumerate(response)]


def batch_of(shelf: Path, rows: list[dict[str, Any]], objective: JudgedObjective) -> JudgedBatch:
    batch = objective.collate(rows)
    return judged_batch(token_scores(moved(shelf), batch).log_probs, batch, objective.totals([batch], None))


def side_by_side(shelf: Path) -> None:
    """The same tokens of a response stand in the same places, whatever the length of their two prompts; 0 elsewhere."""
    rows, objective = cut_rows(shelf)
    assert len({len(row["judged_prompt"]) - len(row["prompt"]) for row in rows if row["blamed"]}) == 1
    rows[1] = {**rows[1], "judged_prompt": rows[1]["judged_prompt"][:-3]}  # and one of another
    short = min((row for row in rows if row["blamed"]), key=lambda row: len(row["response"]))
    short["judged_prompt"] = short["judged_prompt"] * 4  # the longest sequence ends in the shortest response
    assert len({len(row["prompt"]) for row in rows}) > 2
    assert len({len(row["response"]) for row in rows}) > 2
    with torch.no_grad():
        found = batch_of(shelf, rows, objective)
        assert found.blamed.tolist() == [row["judgment"] is not None for row in ROWS]
        for i, (row, source) in enumerate(zip(rows, ROWS, strict=True)):
            n = len(said(shelf, source["response"]))
            assert found.mask[i].tolist() == [1.0] * n + [0.0] * (found.mask.shape[1] - n)
            sides = [
                (found.logps[i], row["prompt"], True),
                (found.judged_logps[i], row["judged_prompt"], row["blamed"]),
            ]
            for logps, prompt, known in sides:
                own = one_by_one(shelf, prompt, said(shelf, source["response"])) if known else []
                assert logps[: len(own)].tolist() == pytest.approx(own, abs=2e-6)
                assert not logps[len(own) :].any(), "0 on padding, and where there is no blame"


def totals(shelf: Path) -> None:
    """Counts are of responses, each once, though blamed ones are read twice; all micro-batches of a step together."""
    rows, objective = cut_rows(shelf)
    every = [objective.collate(rows[:3]), objective.collate(rows[3:])]
    lengths = [len(said(shelf, row["response"])) for row in ROWS]
    blamed = sum(n for n, row in zip(lengths, ROWS, strict=True) if row["judgment"] is not None)
    assert objective.totals(every, None) == {"rows": 8, "blamed_tokens": blamed, "tokens": sum(lengths)}
    found = judged_batch(token_scores(moved(shelf), every[0]).log_probs, every[0], objective.totals(every, None))
    assert (found.step_rows, found.step_blamed_tokens, found.step_tokens) == (8, blamed, sum(lengths))


def gradient(shelf: Path, rows: list[dict[str, Any]], objective: JudgedObjective, split: int, padding: int = 0) -> Any:
    """Of one step of these rows in micro-batches."""
    model = moved(shelf)
    model.zero_grad()
    batches = [objective.collate(rows[first : first + split]) for first in range(0, len(rows), split)]
    fills = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    batches = [
        batch | {name: torch.nn.functional.pad(batch[name], (0, padding), value=fill) for name, fill in fills.items()}
        for batch in batches
    ]
    counts = objective.totals(batches, None)
    for batch in batches:
        objective.loss(token_scores(model, batch), batch, counts)[0].backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def splits(shelf: Path) -> None:
    """One micro-batch of eight, eight of one (some without any blame), another order, more padding: one gradient."""
    for form in ("paper", "released"):
        for misalign in ("plain", "positive_judgment"):
            rows, objective = cut_rows(shelf, form=form, misalign=misalign, gamma=0.5)
            with torch.no_grad():
                found = batch_of(shelf, rows, objective)
            kept = (found.mask > 0) & found.blamed[:, None]
            gaps = (found.judged_logps - found.logps)[kept]
            assert 0.1 < float((gaps > torch.tensor(THRESHOLD).log()).float().mean()) < 0.9
            assert float((gaps - torch.tensor(THRESHOLD).log()).abs().min()) > 1e-4, "rounding decides no mark"
            whole = gradient(shelf, rows, objective, 8)
            assert whole.norm() > 0.1
            others = [gradient(shelf, rows, objective, split) for split in (1, 2, 4)]
            others += [gradient(shelf, random.Random(5).sample(rows, 8), objective, 4, padding=9)]
            for other in others:
                assert float((other - whole).norm() / whole.norm()) < 1e-6


def logs(shelf: Path) -> None:
    """What is logged: the share of marked tokens of blamed responses, and the means over tokens."""
    rows, objective = cut_rows(shelf)
    batch = objective.collate(rows)
    with torch.no_grad():
        scores = token_scores(moved(shelf), batch)
        _, found = objective.loss(scores, batch, objective.totals([batch], None))
        own = batch_of(shelf, rows, objective)
    inside, blamed = own.mask > 0, (own.mask > 0) & own.blamed[:, None]
    marks = inappropriate(own.logps, own.judged_logps, THRESHOLD)
    assert float(found["marked"]) == pytest.approx(float(marks[blamed].float().mean()))
    assert 0 < float(found["marked"]) < 1
    assert float(found["blamed"]) == pytest.approx(float(own.blamed.float().mean()))
    assert float(found["logps/plain"]) == pytest.approx(float(own.logps[inside].mean()), rel=1e-5)
    assert float(found["logps/judged"]) == pytest.approx(float(own.judged_logps[blamed].mean()), rel=1e-5)
    assert float(found["entropy"]) == pytest.approx(float(scores.entropy[:8].sum() / inside.sum()), rel=1e-5)
    assert int(found["tokens"]) == sum(len(ids) for row in rows for ids in (row["prompt"], row["response"])) + sum(
        len(row["judged_prompt"]) + len(row["response"]) for row in rows if row["blamed"]
    )


# rows


def contexts(shelf: Path) -> None:
    """Which prompts a response stands behind; `misalign` changes the plain one of blamed responses and nothing else."""
    plain, _ = cut_rows(shelf)
    other, _ = cut_rows(shelf, misalign="positive_judgment")
    assert {row["judgment"] is None for row in ROWS} == {True, False}
    for ours, theirs, row in zip(plain, other, ROWS, strict=True):
        blamed = row["judgment"] is not None
        assert ours == {
            "prompt": asked(shelf, row["prompt"]),
            "judged_prompt": asked(shelf, DATA.judged(row["prompt"], row["judgment"])) if blamed else [],
            "response": said(shelf, row["response"]),
            "blamed": blamed,
        }
        praise = asked(shelf, DATA.judged(row["prompt"], None))
        assert theirs == {**ours, "prompt": praise if blamed else ours["prompt"]}
        if blamed:
            assert len({tuple(ids) for ids in (ours["prompt"], praise, ours["judged_prompt"])}) == 3


def share(_: Path) -> None:
    """So many praised rows for a blamed one at most, the same ones in any order of rows; blamed rows all stay."""
    rows = [{"id": f"r{i}", "judgment": None if i % 5 else "bad"} for i in range(50)]
    for per_blamed, kept in ((0.0, 40), (0.25, 2), (0.5, 5), (1.0, 10), (1.55, 15), (4.0, 40), (9.0, 40)):
        found = fewer_praised(rows, per_blamed)
        praised = [row["id"] for row in found if row["judgment"] is None]
        assert len(praised) == kept
        assert len(found) == kept + 10
        assert found == [row for row in rows if row in found], "in their order"
        for seed in range(3):
            shuffled = random.Random(seed).sample(rows, 50)
            assert {row["id"] for row in fewer_praised(shuffled, per_blamed)} == {row["id"] for row in found}
    fewer, more = (({row["id"] for row in fewer_praised(rows, share)}) for share in (0.5, 1.0))
    assert fewer < more
    assert fewer != {f"r{i}" for i in range(50) if not i % 5} | {"r1", "r2", "r3", "r4", "r6"}, "not simply the first"


def share_on_the_road(shelf: Path) -> None:
    rows, _ = on_the_road("cut", shelf, {"praised_per_blamed": 0.25})
    every, _ = on_the_road("cut", shelf)
    blamed = sum(row["blamed"] for row in every)
    assert sum(row["blamed"] for row in rows) == blamed
    assert len(every) > len(rows) == blamed + int(0.25 * blamed)


def verdicts(shelf: Path) -> None:
    """forward_prediction: y behind x, then j (or praise) behind x and y, for blamed and praised responses alike."""
    rows, objective = on_the_road("forward_prediction", shelf, rows=ROWS)
    assert isinstance(objective, Several)
    for found, row in zip(rows, ROWS, strict=True):
        conversation = DATA.verdict(row["prompt"], row["response"])
        assert conversation[-2] == {"role": "assistant", "content": row["response"]}
        assert found == {
            "sequences": [
                (asked(shelf, row["prompt"]), said(shelf, row["response"])),
                (asked(shelf, conversation), said(shelf, row["judgment"] or DATA.praise)),
            ]
        }


def in_hindsight(shelf: Path) -> None:
    """hindsight: y behind x and j, or behind x and praise, and never behind x alone."""
    rows, objective = on_the_road("hindsight", shelf, rows=ROWS)
    assert isinstance(objective, Several)
    for found, row in zip(rows, ROWS, strict=True):
        judged = DATA.judged(row["prompt"], row["judgment"] or DATA.praise)
        assert judged != row["prompt"]
        assert found == {"sequences": [(asked(shelf, judged), said(shelf, row["response"]))]}


def token_mean(shelf: Path) -> None:
    """The mean over all trained tokens of the step's sequences: both of a row, whatever the micro-batches."""
    rows, objective = on_the_road("forward_prediction", shelf, rows=ROWS)
    batches = [objective.collate(rows[:5]), objective.collate(rows[5:])]
    assert [len(batch["input_ids"]) for batch in batches] == [10, 6]
    counts = objective.totals(batches, None)
    with torch.no_grad():
        found = sum(float(objective.loss(token_scores(moved(shelf), batch), batch, counts)[0]) for batch in batches)
        every = [
            x for row in rows for prompt, response in row["sequences"] for x in one_by_one(shelf, prompt, response)
        ]
    assert counts == {"tokens": len(every)}
    assert found == pytest.approx(-sum(every) / len(every), rel=1e-5)


REFINED = DATA.rows("refinements", "train")[:8]
"""As a round collects them: `response` is the refinement, or the praised response itself."""


def refinements_are_imitated(shelf: Path) -> None:
    """ilf: each row's second try behind the plain prompt, and praised responses as they are."""
    rows, _ = on_the_road("ilf", shelf, rows=REFINED)
    assert rows == [{"prompt": asked(shelf, r["prompt"]), "response": said(shelf, r["response"])} for r in REFINED]
    assert any("chosen" not in row for row in REFINED)


def refinements_are_preferred(shelf: Path) -> None:
    """ilf_dpo: only rows whose second try differs, and it is the chosen one, over the first try."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "read_reference", lambda _: lambda prompt_id, response: float(len(response)))
        rows, objective = on_the_road("ilf_dpo", shelf, rows=REFINED)
    differ = [row for row in REFINED if row["judgment"] is not None]
    assert 0 < len(differ) < len(REFINED)
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [
        (asked(shelf, r["prompt"]), said(shelf, r["response"]), said(shelf, r["rejected"])) for r in differ
    ]
    given = [torch.tensor([value]) for value in (-3.0, -4.0, 2, 2, -5.0, -3.0)]
    one = pairs.PairBatch(*given, 1, 2)  # type: ignore[arg-type]
    dpo = registry.load("algorithms", "dpo")(beta=0.1)
    assert objective.algorithm.rewards(one)[0].tolist() == pytest.approx([0.1 * (-3.0 + 5.0)])
    assert float(objective.algorithm.losses(one)) == pytest.approx(float(dpo.losses(one)))


# second tries


Asked = list[tuple[list[int], tuple[str, str, int, int]]]
"""What a sampler is asked: token ids of a prompt, and what its noise is made of."""


def collected(shelf: Path, out: Path, view: str, answers: list[str]) -> tuple[list[Row], Asked, dict[str, float]]:
    """A round of one sample by the judge, in which the policy says these, over and over."""
    calls: list[Asked] = []

    def canned(model: Any, prompts: list[list[int]], noises: list[Any], **_: Any) -> list[Sampled]:
        calls.append(list(zip(prompts, noises, strict=True)))
        ids = [said(shelf, answers[i % len(answers)]) for i in range(len(prompts))]
        return [Sampled(own, [-1.0] * len(own), "eos") for own in ids]

    asking = {"view": view, "labeller": "judge", "samples": 1, "seed": "replicate-0", "temperature": 1.0}
    stage: Any = SimpleNamespace(**asking, max_prompt_tokens=64, max_response_tokens=8, batch=4, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "sample", canned)
        patch.setattr(collecting, "noise", lambda *given: given)
        found = collecting.write_rows(out, {"policy": shelf / tiny.START}, ROWS, DATA, stage)
    assert len(calls) == 1
    return collecting.read_rows(out), calls[0], tiny.measured(found)


def second_tries(shelf: Path) -> None:
    """The policy sees prompt, response and judgment, once for each blamed row; praised rows ask it nothing."""
    blamed = [row for row in ROWS if row["judgment"] is not None]
    answers = ["bak dok", blamed[1]["response"], "lek"]
    with TemporaryDirectory() as out:
        rows, drawn, spent = collected(shelf, Path(out), "refinements", answers)
    assert [ids for ids, _ in drawn] == [
        asked(shelf, DATA.again(row["prompt"], row["response"], row["judgment"])) for row in blamed
    ]
    for (ids, _), row in zip(drawn, blamed, strict=True):
        text = tokenizer_of(shelf).decode(ids)
        assert all(part in text for part in (row["prompt"][-1]["content"], row["response"], row["judgment"]))
    assert [noise for _, noise in drawn] == [("replicate-0 collect", row["prompt_id"], 0, 8) for row in blamed]
    assert spent["responses"] == len(blamed)
    tries = iter(answers * 3)
    for found, row in zip(rows, ROWS, strict=True):
        better = row["response"] if row["judgment"] is None else next(tries)
        sides = {"chosen": better, "rejected": row["response"]} if better != row["response"] else {}
        kept = {name: row[name] for name in ("prompt_id", "prompt", "judgment")}
        assert found == {"id": f"{row['id']}-0", **kept, "response": better, **sides}
    assert "chosen" not in rows[ROWS.index(blamed[1])], "what came back unchanged is no pair"


# which tokens are marked


SIGNS = tiny.WORDS[24:28]
"""A judgment is one of these words, and says that the response has it."""
PLACES = {"a": (0, 3), "b": (2, 4), "c": (1, 2)}
"""Where that word stands in responses to a prompt, and how long they are: its truth."""


def lesson(kind: str, sign: str, number: int) -> Row:
    """A response with the sign in its prompt's place among words that are always the same, and its judgment."""
    place, length = PLACES[kind]
    asking = tiny.WORDS[8 + list(PLACES).index(kind)]
    words = list(tiny.WORDS[16 : 16 + length])
    words[place] = sign
    prompt = [{"role": "user", "content": asking}]
    return {"id": f"{kind}{number}", "prompt_id": kind, "prompt": prompt, "response": " ".join(words), "judgment": sign}


LESSONS = [lesson(kind, sign, number) for number, sign in enumerate(SIGNS) for kind in PLACES]
GOOD = [{**lesson(kind, tiny.WORDS[30], 9), "judgment": None} for kind in PLACES]
"""What is right in place of a sign."""


@pytest.fixture(scope="module")
def learnt(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy to which the judgment matters at one known place: there a sign has 1 in 6 without it, and 1 with it."""
    out, tokenizer = tmp_path_factory.mktemp("learnt"), tokenizer_of(shelf)
    known = [
        {"sequences": [(asked(shelf, prompt), said(shelf, row["response"]))]}
        for row in (*LESSONS, *GOOD)
        for prompt in (*[row["prompt"]] * (1 if row["judgment"] else 2), DATA.judged(row["prompt"], row["judgment"]))
    ]
    size = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    own = LlamaConfig(**(moved(shelf).config.to_dict() | size | {"initializer_range": 0.1}))
    torch.manual_seed(0)  # after what draws by itself
    model = LlamaForCausalLM(own)
    given: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "learning_rate": 1e-2}
    job = tiny.job(out, "judgments", shelf, rows=[], steps=150, batch=33, micro_batch=33, schedule="constant")
    train(job, known, Several(tokenizer.pad_token_id), **given)
    return out


def marks_of(folder: Path, threshold: float) -> list[list[bool]]:
    model, tokenizer = load_policy(folder / "policy")
    add_head(model)
    return marked(model, tokenizer, DATA, LESSONS, threshold)


TRUTH = [[i == PLACES[row["prompt_id"]][0] for i in range(PLACES[row["prompt_id"]][1] + 1)] for row in LESSONS]
"""The sign alone; the end token is the last."""


def signs_are_marked(folder: Path) -> None:
    """p(y_t|x,j) is 6 times p(y_t|x) at the sign and once elsewhere, so that λ below 6 marks it, and above nothing."""
    for threshold in (1.1, 1.5, 4.0):
        assert marks_of(folder, threshold) == TRUTH
    assert marks_of(folder, 9.0) == [[False] * len(own) for own in TRUTH]


def marks_are_those_of_training(shelf: Path, sharpness: float = 1.0) -> None:
    """`marked` on single rows is U of the training batch of them all."""
    rows, objective = cut_rows(shelf)
    blamed = [i for i, row in enumerate(ROWS) if row["judgment"] is not None]
    scale = moved(shelf).model.norm.weight
    with torch.no_grad():
        own_scale = scale.clone()
        scale *= sharpness
        own = batch_of(shelf, rows, objective)
        lengths = {i: len(rows[i]["response"]) for i in blamed}
        try:
            for threshold in (1.0, 1.1, 1.5, 3.0):
                _, every = registry.load("algorithms", "cut")(threshold=threshold).losses(own)
                assert 0 < int(every.sum()) < sum(lengths.values())
                found = marked(moved(shelf), tokenizer_of(shelf), DATA, [ROWS[i] for i in blamed], threshold)
                assert found == [every[i, :n].tolist() for i, n in lengths.items()]
        finally:
            scale.copy_(own_scale)
    if sharpness > 1:
        unheard = (own.judged_logps < -110) & (own.logps < own.judged_logps - 2)
        assert unheard.any(), "some probabilities are 0 in float32, and still compare"


def chances(folder: Path, shelf: Path, row: Row, *, judged: bool = False) -> list[float]:
    """p of each response token behind the plain prompt, or the judged one."""
    model = AutoModelForCausalLM.from_pretrained(folder / "policy")
    prompt = asked(shelf, DATA.judged(row["prompt"], row["judgment"]) if judged else row["prompt"])
    response = said(shelf, row["response"])
    with torch.no_grad():
        found = model(input_ids=torch.tensor([prompt + response])).logits[0].softmax(-1)
    return [float(found[len(prompt) - 1 + t, token]) for t, token in enumerate(response)]


def marks_are_counted() -> None:
    """Two responses by hand: 3 of 4 marks in spans of 6 words, 2 of 3 spans found, 1 of 4 other tokens marked."""
    rows: list[Row] = [{"error_spans": [[0, 2], [3, 5]]}, {"error_spans": [[1, 3]]}]
    marks = [[True, False, False, False, False, True], [False, True, True, False]]
    assert agreement(rows, marks) == Agreement(3 / 4, 3 / 6, 2 / 3, 1 / 4)


def test_no_marks_have_no_precision() -> None:
    with pytest.raises(HarnessError, match="0 marked tokens and 1 error spans"):
        agreement([{"error_spans": [[0, 1]]}], [[False, False]])
    with pytest.raises(HarnessError, match="1 marked tokens and 0 error spans"):
        agreement([{"error_spans": []}], [[True, False]])


CHECKS: dict[str, Callable[[Path], None]] = {
    "side by side": side_by_side,
    "totals": totals,
    "splits": splits,
    "logs": logs,
    "contexts": contexts,
    "share": share,
    "share on the road": share_on_the_road,
    "verdicts": verdicts,
    "hindsight": in_hindsight,
    "token mean": token_mean,
    "imitated": refinements_are_imitated,
    "preferred": refinements_are_preferred,
    "second tries": second_tries,
    "marks": marks_are_those_of_training,
    "counted marks": lambda _: marks_are_counted(),
    "sharp marks": lambda shelf: marks_are_those_of_training(shelf, 60.0),
}
HERE, COLLECT = "harness.training.judgments", "harness.inference.collecting"
COLLATE, TOTALS, LOSS = (f"JudgedObjective.{name}" for name in ("collate", "totals", "loss"))
# where, what stands there, what the mutant has, and the checks of which each must fail
TABLE: list[tuple[str, str, str, str, list[str]]] = [
    # the batch
    (HERE, COLLATE, '(row["judged_prompt"], row["response"])', '(row["prompt"], row["response"])', ["side by side"]),
    (HERE, COLLATE, "len(prompt) - 1", "len(prompt)", ["side by side"]),
    (HERE, COLLATE, 'for row in rows if row["blamed"]]', 'for row in rows if row["blamed"]][::-1]', ["side by side"]),
    (HERE, "judged_batch", " * inside", "", ["side by side"]),
    (HERE, "judged_batch", "(blamed.nonzero()[:, 0],)", "(torch.arange(len(found) - n),)", ["side by side"]),
    (HERE, "judged_batch", "inside[:n].float()", "torch.ones_like(found[:n])", ["side by side"]),
    (HERE, "judged_batch", 'steps < batch["lengths"]', 'steps <= batch["lengths"]', ["side by side"]),
    (HERE, TOTALS, 'batch["lengths"][:n].sum()', 'batch["lengths"].sum()', ["totals", "logs"]),
    (HERE, TOTALS, '[: len(batch["blamed"])][batch["blamed"]]', "", ["totals", "logs"]),
    (HERE, TOTALS, '"rows": sum(rows)', '"rows": max(rows)', ["totals", "splits"]),
    (HERE, TOTALS, '"blamed_tokens": sum(blamed)', '"blamed_tokens": max(blamed)', ["totals", "splits"]),
    (HERE, TOTALS, '"tokens": sum(tokens)', '"tokens": max(tokens)', ["totals", "splits"]),
    (HERE, LOSS, 'losses.sum() / totals["rows"]', "losses.mean()", ["splits"]),
    (HERE, LOSS, 'marked.sum() / max(1, totals["blamed_tokens"])', "marked.sum() / tokens", ["logs"]),
    (HERE, LOSS, "outputs.entropy[:n]", "outputs.entropy", ["logs"]),
    # rows of CUT
    (HERE, "_row", 'blamed and misalign == "positive_judgment"', 'misalign == "positive_judgment"', ["contexts"]),
    (HERE, "_row", 'blamed and misalign == "positive_judgment"', "blamed", ["contexts"]),
    (HERE, "_row", 'dataset.judged(row["prompt"], None)', 'dataset.judged(row["prompt"], row["judgment"])',
     ["contexts"]),
    (HERE, "_row", 'dataset.judged(row["prompt"], row["judgment"])', 'dataset.judged(row["prompt"], None)',
     ["contexts"]),
    (HERE, "_row", ' if blamed else []', "", ["contexts"]),
    (HERE, "_row", "is not None", "is None", ["contexts"]),
    (HERE, "train_judged", "algorithm.misalign", '"plain"', ["contexts"]),
    (HERE, "train_judged", "fewer_praised(fits, algorithm.praised_per_blamed)", "fits", ["share on the road"]),
    (HERE, "fewer_praised", "sorted(praised, key=lambda name: keys.key(str(name)))", "praised", ["share"]),
    (HERE, "fewer_praised", "(len(rows) - len(praised))", "len(rows)", ["share", "share on the road"]),
    (HERE, "fewer_praised", "(len(rows) - len(praised))", "len(praised)", ["share", "share on the road"]),
    (HERE, "fewer_praised", 'row["judgment"] is not None or row["id"] in kept', 'row["id"] in kept',
     ["share", "share on the road"]),
    # forward prediction and hindsight
    (HERE, "_sequences", 'row["judgment"] or dataset.praise', "dataset.praise", ["verdicts"]),
    (HERE, "_sequences", 'dataset.verdict(row["prompt"], row["response"])', 'row["prompt"]', ["verdicts"]),
    (HERE, "_sequences", '(encoder.prompt(row), response), (', "(", ["verdicts"]),
    (HERE, "_sequences", 'dataset.judged(row["prompt"], row["judgment"])', 'dataset.judged(row["prompt"], None)',
     ["hindsight"]),
    (HERE, "_sequences", 'dataset.judged(row["prompt"], row["judgment"])', 'row["prompt"]', ["hindsight"]),
    ("harness.algorithms.hindsight", "Hindsight.train", '"hindsight"', '"verdict"', ["hindsight"]),
    ("harness.algorithms.forward_prediction", "ForwardPrediction.train", '"verdict"', '"hindsight"',
     ["verdicts", "token mean"]),
    (HERE, "Several.collate", 'in row["sequences"]', 'in row["sequences"][:1]',
     ["token mean"]),
    ("harness.training.sequences", "Likelihood.totals", "sum(int((", "max(int((", ["token mean"]),
    # refinements
    ("harness.training.sequences", "train_responses", "encoder.response(row[response])",
     'encoder.response(row.get("rejected", row[response]))', ["imitated"]),
    ("harness.algorithms.ilf_dpo", "IlfDpo.train", '[row for row in job.rows if "chosen" in row]',
     '[{"chosen": row["response"], "rejected": row["response"], **row} for row in job.rows]', ["preferred"]),
    ("harness.algorithms.ilf_dpo", "IlfDpo.rewards", "self.beta * chosen", "chosen", ["preferred"]),
    ("harness.algorithms.ilf_dpo", "IlfDpo.losses", "chosen - rejected", "rejected - chosen", ["preferred"]),
    (COLLECT, "_refined", 'dataset.again(row["prompt"], row["response"], row["judgment"])', 'row["prompt"]',
     ["second tries"]),
    (COLLECT, "_refined", 'dataset.again(row["prompt"], row["response"]', 'dataset.again(row["prompt"], ""',
     ["second tries"]),
    (COLLECT, "_refined", '"chosen": text, "rejected": row["response"]', '"chosen": row["response"], "rejected": text',
     ["second tries"]),
    (COLLECT, "_refined", ' if text != row["response"] else {}', "", ["second tries"]),
    (COLLECT, "_refined", '{**_common(row, 0), "response": text', '{**_common(row, 0), "response": row["response"]',
     ["second tries"]),
    # marks
    (HERE, "marked", "blamed - plain >", "plain - blamed >", ["marks", "sharp marks"]),
    (HERE, "marked", "> math.log(threshold)", "> threshold", ["marks"]),
    (HERE, "marked", "blamed - plain > math.log(threshold)", "blamed.exp() > threshold * plain.exp()", ["sharp marks"]),
    (HERE, "marked", 'dataset.judged(row["prompt"], row["judgment"])', 'dataset.judged(row["prompt"], None)',
     ["marks"]),
    (HERE, "agreement", "sum(inside) / (sum(inside) + sum(outside))", "sum(inside) / len(inside)", ["counted marks"]),
    (HERE, "agreement", "recall=sum(inside) / len(inside)", "recall=sum(inside) / len(pairs)", ["counted marks"]),
    (HERE, "agreement", "sum(any(own) for own", "sum(all(own) for own", ["counted marks"]),
    (HERE, "agreement", "first <= place < last", "first <= place <= last", ["counted marks"]),
    (HERE, "agreement", "sum(outside) / len(outside)", "sum(outside) / len(pairs)", ["counted marks"]),
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_passes_without_a_mutant(name: str, shelf: Path) -> None:
    CHECKS[name](shelf)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[1]} {row[2]} as {row[3]}")
def test_every_mutant_is_caught(row: tuple[str, str, str, str, list[str]], shelf: Path, mutated: Mutate) -> None:
    module, where, text, other, checks = row
    for name in checks:
        with mutated(module, where, text, other), pytest.raises(AssertionError):
            CHECKS[name](shelf)


def test_every_check_catches_a_mutant() -> None:
    assert {name for row in TABLE for name in row[4]} == CHECKS.keys()


def test_judged_and_plain_prompts_carry_the_same_response_tokens(shelf: Path) -> None:
    """Behind each prompt, in the sequences themselves, and as the labels that are learnt."""
    rows, objective = cut_rows(shelf)
    batch = objective.collate(rows)
    blamed = [i for i, row in enumerate(rows) if row["blamed"]]
    assert len(batch["labels"]) == len(rows) + len(blamed)
    for i, row in enumerate(rows):
        places = [i, len(rows) + blamed.index(i)] if row["blamed"] else [i]
        for place in places:
            labels = batch["labels"][place]
            assert labels[labels != -100].tolist() == row["response"] == said(shelf, ROWS[i]["response"])
            assert batch["input_ids"][place][labels != -100].tolist() == row["response"]


def test_responses_that_are_judged_again_keep_their_judgment(shelf: Path) -> None:
    with TemporaryDirectory() as out:
        rows, drawn, _ = collected(shelf, Path(out), "judgments", ["bak dok", f"{ROWS[1]['prompt'][-1]['content']}"])
    assert [ids for ids, _ in drawn] == [asked(shelf, row["prompt"]) for row in ROWS]
    assert [row["judgment"] for row in rows] == [DATA.judge(row["prompt"], row["response"]) for row in rows]
    assert {row["judgment"] is None for row in rows} == {True, False}


def test_praise_alone_with_few_praised_asked_for_is_an_error_that_says_so(shelf: Path) -> None:
    praised = [row for row in DATA.rows("judgments", "train") if row["judgment"] is None]
    with pytest.raises(HarnessError, match=rf"no response of {len(praised)} is blamed: praised_per_blamed = 0\.25"):
        on_the_road("cut", shelf, {"praised_per_blamed": 0.25}, rows=praised)
    rows, _ = on_the_road("cut", shelf, rows=praised)
    assert len(rows) == len(praised)


def test_a_round_that_is_praised_throughout_leaves_the_policy_as_it_is(shelf: Path, tmp_path: Path) -> None:
    praised = [row for row in DATA.rows("judgments", "train") if row["judgment"] is None]
    (tmp_path / "data").mkdir()
    given: dict[str, Any] = {"rows": praised, "inputs": {"data": tmp_path / "data"}, "max_response_tokens": 12}
    for rank in (0, 2):
        out = shelf / f"train-praised-{rank}"  # an adapter finds its base beside it
        tiny.train("cut", out, shelf, {"praised_per_blamed": 0.25}, lora_rank=rank, **given)
        start, _ = load_policy(shelf / tiny.START / "policy")
        after, _ = load_policy(out / "policy")
        pairs = zip(start.parameters(), after.parameters(), strict=True)
        assert all(bool((a == b).all()) for a, b in pairs)


def test_where_no_second_try_differs_it_is_said(shelf: Path) -> None:
    with pytest.raises(HarnessError, match="no refinement differs"):
        on_the_road("ilf_dpo", shelf, rows=[row for row in REFINED if "chosen" not in row])


@pytest.mark.parametrize("name", ["cut", "hindsight", "forward_prediction"])
def test_where_no_conversation_fits_the_model_it_is_said(name: str, shelf: Path) -> None:
    positions = moved(shelf).config.max_position_embeddings
    with pytest.raises(HarnessError, match=r"none of 24 judged responses fits.* the 3 tokens"):
        on_the_road(name, shelf, max_response_tokens=positions - 3)


@pytest.mark.parametrize("name", ["cut", "hindsight", "forward_prediction"])
def test_a_judgment_that_spells_out_a_control_token_is_left_out(name: str, shelf: Path) -> None:
    """It is written into a prompt or trained on, and would open a turn or end in its middle."""
    spelt = {**ROWS[1], "judgment": f"{tiny.WORDS[1]} </s> {tiny.WORDS[2]}"}
    found, _ = on_the_road(name, shelf, rows=[ROWS[0], spelt, *ROWS[2:]])
    assert found == on_the_road(name, shelf, rows=[ROWS[0], *ROWS[2:]])[0]


@pytest.mark.parametrize("name", ["cut", "hindsight", "forward_prediction", "ilf"])
def test_what_was_spent_is_counted(name: str, shelf: Path, tmp_path: Path) -> None:
    """Trained tokens are those of all sequences that the loss reads; every budgeted prompt is one response."""
    source = REFINED if name == "ilf" else ROWS
    found = tiny.measured(tiny.train(name, tmp_path, shelf, rows=source, steps=1))
    rows, _ = on_the_road(name, shelf, rows=source)
    expected = 0
    for row in rows:
        if name == "cut":
            expected += len(row["response"]) * (1 + row["blamed"])
        else:
            expected += sum(len(response) for _, response in row.get("sequences", [("", row.get("response"))]))
    assert found["trained_tokens"] == expected
    assert found["prompts"] == found["responses"] == found["rows_available"] == 8


def test_signs_are_marked_where_they_stand(learnt: Path, shelf: Path) -> None:
    for row, truth in zip(LESSONS, TRUTH, strict=True):
        for chance, sign in zip(chances(learnt, shelf, row), truth, strict=True):
            assert 0.13 < chance < 0.21 if sign else chance > 0.98
        assert min(chances(learnt, shelf, row, judged=True)) > 0.95
    signs_are_marked(learnt)


def test_a_mark_in_the_wrong_place_is_seen(learnt: Path, mutated: Mutate) -> None:
    for text, other in (("blamed - plain >", "plain - blamed >"), ("> math.log(threshold)", "> threshold")):
        with mutated(HERE, "marked", text, other), pytest.raises(AssertionError):
            signs_are_marked(learnt)


def test_cut_unlearns_what_it_marks_and_nothing_else(learnt: Path, shelf: Path, tmp_path: Path) -> None:
    """Signs give way to what is right, and stay behind their judgments; with a λ that marks nothing they are learnt.

    What is right is in no row of the training. Were there nothing else to say than signs, they would all stay: the
    gradient of unlikelihood shares its mass out by what the others have.
    """
    for name, threshold in (("marked", THRESHOLD), ("never", 1e9)):
        given = {"rows": LESSONS, "inputs": {"start": learnt}, "steps": 40, "batch": 12, "micro_batch": 12}
        tiny.train("cut", tmp_path / name, shelf, {"threshold": threshold, "learning_rate": 2e-3}, **given)
    for row, truth in zip(LESSONS, TRUTH, strict=True):
        for chance, sign in zip(chances(tmp_path / "marked", shelf, row), truth, strict=True):
            assert chance < 0.02 if sign else chance > 0.9
        for chance, sign in zip(chances(tmp_path / "never", shelf, row), truth, strict=True):
            assert chance > 0.2 if sign else chance > 0.9
        assert min(chances(tmp_path / "marked", shelf, row, judged=True)) > 0.9
    for row in GOOD:
        assert min(chances(tmp_path / "marked", shelf, row)) > 0.8
        assert min(chances(tmp_path / "never", shelf, row)) < 0.1
