"""Judges: both orders, inconsistency, a real server that is slow, failing, malformed or biased, and no secrets."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small import WORDS, SmallData

from harness.data.lab import Lab
from harness.errors import HarnessError
from harness.execute import execute
from harness.inference.policy import load_policy, save_policy
from harness.judges import judge_spec
from harness.judges._words import FOLDER, read_template, render, verdict
from harness.judges._work import combine
from harness.metrics._grade import write_scores
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.records import read
from harness.records.shelf import judged
from harness.report import build
from harness.report.judges import judges_sheet
from harness.report.standings import compare
from harness.stages import Judge, Sample, Stage, Train, algorithm_spec, dataset_spec, walk
from harness.store import Store
from harness.training.scratch import new_model, new_tokenizer

KNOBS = {"evaluation": 6}
PROMPTS = Lab(**KNOBS).rows("prompts", "test")
SECRET = "sk-very-secret-0123456789"
Reply = Callable[[int, str], tuple[int, str, float]]
"""(how often this question came before, its text) -> state, body, seconds of silence before."""


@dataclass
class Served:
    """A server that speaks the protocol, and what it has seen."""

    url: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0


def chat(text: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def sides(text: str) -> tuple[str, str]:
    """The two responses of a question, as a judge reads them."""
    found = re.search(
        r"\[Response A\]\n(.*)\n\[End of response A\].*\[Response B\]\n(.*)\n\[End of response B\]", text, re.S
    )
    assert found
    return found[1], found[2]


def longer(text: str) -> str:
    a, b = (len(side) for side in sides(text))
    return "I weighed [[A]] and [[B]]. " + ("[[A]]" if a > b else "[[B]]" if b > a else "[[C]]")


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], Served]]:
    servers = []

    def start(reply: Reply) -> Served:
        served, lock, now = Served(), threading.Lock(), [0]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][0]["content"]
                with lock:
                    now[0] += 1
                    served.most_at_once = max(served.most_at_once, now[0])
                    before, served.seen[text] = served.seen[text], served.seen[text] + 1
                    served.keys.add(self.headers.get("Authorization", ""))
                    served.bodies.append({"path": self.path, **body})
                state, answer, silence = reply(before, text)
                time.sleep(silence)
                with lock:
                    now[0] -= 1
                try:
                    self.send_response(state)
                    self.send_header("Content-Length", str(len(answer.encode())))
                    self.end_headers()
                    self.wfile.write(answer.encode())
                except OSError:
                    pass  # who asked has given up

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}/v1"
        return served

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def policy(seed: str) -> Train:
    data = dataset_spec("lab", KNOBS)
    return Train({}, algorithm=algorithm_spec("sft", {}), dataset=data, split="train", budget={}, seed=seed)


def sample_stage(seed: str) -> Sample:
    return Sample(
        {"policy": policy(seed)}, dataset=dataset_spec("lab", KNOBS), split="test", prompts=6, samples=1,
        temperature=1.0, max_response_tokens=8, procedure={"name": "plain"}, seed=seed, batch=8, threads=1,
    )  # fmt: skip


def finished(store: Store, stage: Sample, responses: list[str]) -> None:
    folder = store.prepare(stage)
    rows = [
        {"prompt_id": row["prompt_id"], "k": 0, "response": text} for row, text in zip(PROMPTS, responses, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    store.finish(stage.name, {"files": store.outputs(stage.name), "measurements": []})


OWN = ["aaaa aa", "bbb", "same", "dd", "eeee", "f"]
START = ["aa", "bbbbb", "same", "cc", "e", "ffff"]
LONGER = [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]
"""What a judge that prefers the longer response says of OWN against START."""


def stage_of(source: str, asking: dict[str, Any] | None = None, **knobs: Any) -> Judge:
    template = None if source == "rule" else read_template("pairwise", FOLDER)
    return Judge(
        {"sample": sample_stage("replicate-0"), "start_sample": sample_stage("replicate-1")},
        dataset=dataset_spec("lab", KNOBS), judge=judge_spec(source, knobs), threads=1, template=template,
        asking={"backoff_seconds": 0.01, "timeout_seconds": 5.0, **(asking or {})},
    )  # fmt: skip


def run(root: Path, stage: Judge, own: list[str] = OWN, start: list[str] = START) -> Any:
    store = Store(root)
    for role, texts in (("sample", own), ("start_sample", start)):
        if not store.done(stage.inputs[role].name):
            finished(store, stage.inputs[role], texts)
    store.prepare(stage)
    return execute(root / stage.name)


def scores(root: Path, stage: Judge, metric: str = "judge_win") -> list[float]:
    rows = pq.read_table(root / stage.name / "scores.parquet").to_pylist()
    by_prompt = {row["prompt_id"]: row["value"] for row in rows if row["metric"] == metric}
    return [by_prompt[row["prompt_id"]] for row in PROMPTS if row["prompt_id"] in by_prompt]


def measured(root: Path, stage: Judge) -> dict[str, float]:
    record = json.loads((root / stage.name / "record.json").read_text())
    return {one["metric"]: one["value"] for one in record["measurements"]}


@pytest.mark.parametrize(
    ("forward", "backward", "win", "consistent", "unreadable"),
    [
        ("first", "second", 1.0, True, 0),
        ("second", "first", 0.0, True, 0),
        ("tie", "tie", 0.5, True, 0),
        ("first", "first", 0.5, False, 0),
        ("second", "second", 0.5, False, 0),
        ("first", "tie", 0.5, False, 0),
        ("tie", "second", 0.5, False, 0),
        ("", "second", 0.5, False, 1),
        ("", "", 0.5, False, 2),
    ],
)
def test_two_orders_make_one_judgment(
    forward: str, backward: str, win: float, consistent: bool, unreadable: int
) -> None:
    found = combine("p", forward, backward)
    assert (found.win, found.consistent, found.unreadable) == (win, consistent, unreadable)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("[[A]]", "first"), ("not [[A]] but [[B]]", "second"), ("[[ C ]]", "tie"), (" B.", "second"),
        ("A is a good one", ""), ("", ""), ("[[D]]", ""), ("[A]", "first"), ("AB", ""),
    ],
)  # fmt: skip
def test_the_last_marked_verdict_counts(answer: str, word: str) -> None:
    assert verdict(answer) == word


def test_a_response_that_holds_a_fields_name_stays_as_it_is() -> None:
    text = render("{prompt}|{first}|{second}", [{"role": "user", "content": "{first}"}], "{second}", "x")
    assert text == "{first}|{second}|x"


def test_a_fair_judge(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    served = serve(lambda before, text: (200, chat(longer(text)), 0.05))
    stage = stage_of("endpoint", url=served.url, model="m", asking={"parallel": 3})
    assert run(tmp_path, stage).status == "done"
    assert scores(tmp_path, stage) == LONGER
    assert scores(tmp_path, stage, "judge_inconsistent") == [0.0] * 6
    found = measured(tmp_path, stage)
    assert found["judge_questions"] == 10, "both orders of five prompts; equal responses are not asked about"
    assert (found["judge_equal_responses"], found["judge_unreadable"], found["judge_first"]) == (1, 0, 0.5)
    assert len(served.seen) == 10
    assert served.seen.total() == 10
    assert 1 < served.most_at_once <= 3
    assert served.bodies[0]["path"] == "/v1/chat/completions"
    assert (served.bodies[0]["model"], served.bodies[0]["temperature"]) == ("m", 0.0)
    raw = pq.read_table(tmp_path / stage.name / "answers.parquet").to_pylist()
    assert all(row["answer"] == longer(row["text"]) and row["verdict"] for row in raw)


def test_a_judge_that_names_the_first_decides_nothing(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    stage = stage_of("endpoint", url=serve(lambda before, text: (200, chat("[[A]]"), 0)).url, model="m")
    run(tmp_path, stage)
    assert scores(tmp_path, stage) == [0.5] * 6
    assert scores(tmp_path, stage, "judge_inconsistent") == [1, 1, 0, 1, 1, 1]
    assert scores(tmp_path, stage, "judge_first") == [1.0] * 5


def test_what_is_lost_is_sent_again(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    failures = [(503, "busy", 0.0), (200, "<html>", 0.0), (200, chat("[[A]]"), 2.5), (429, "slower", 0.0)]
    served = serve(lambda before, text: failures[before] if before < 4 else (200, chat(longer(text)), 0))
    stage = stage_of("endpoint", {"retries": 4, "timeout_seconds": 1.0, "parallel": 4}, url=served.url, model="m")
    outcome = run(tmp_path, stage)
    assert outcome.status == "done", outcome.error
    assert scores(tmp_path, stage) == LONGER
    assert set(served.seen.values()) == {5}


def test_a_dead_server_is_the_networks_fault_and_answers_stay(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    answered = [0]

    def dying(before: int, text: str) -> tuple[int, str, float]:
        answered[0] += 1
        return (200, chat(longer(text)), 0) if answered[0] <= 4 else (500, "down", 0)

    served = serve(dying)
    stage = stage_of("endpoint", {"retries": 1, "parallel": 1}, url=served.url, model="m")
    outcome = run(tmp_path, stage)
    assert (outcome.status, outcome.cause) == ("failed", "network")
    assert "HTTP 500: down" in outcome.error
    first = dict(served.seen)
    answered[0] = -100
    assert run(tmp_path, stage).status == "done"
    assert scores(tmp_path, stage) == LONGER
    again = [text for text, times in served.seen.items() if times > first.get(text, 0)]
    assert len(again) == 6, "the four that had an answer were not asked again"


def test_nobody_there(tmp_path: Path) -> None:
    stage = stage_of("endpoint", {"retries": 1}, url="http://127.0.0.1:9/v1", model="m")
    assert run(tmp_path, stage).cause == "network"


def test_a_journal_cut_short_loses_one_answer(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    served = serve(lambda before, text: (200, chat(longer(text)), 0))
    stage = stage_of("endpoint", url=served.url, model="m")
    run(tmp_path, stage)
    (tmp_path / stage.name / "record.json").unlink()
    journal = tmp_path / stage.name / "checkpoints" / "answers.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert run(tmp_path, stage).status == "done"
    assert served.seen.total() == 11
    assert scores(tmp_path, stage) == LONGER


def test_answers_without_a_verdict_fail_the_stage(tmp_path: Path, serve: Callable[[Reply], Served]) -> None:
    stage = stage_of("endpoint", url=serve(lambda before, text: (200, chat("both are fine"), 0)).url, model="m")
    outcome = run(tmp_path, stage)
    assert (outcome.status, outcome.cause) == ("failed", "bad data")
    assert "10 of 10 answers hold no verdict" in outcome.error


def test_the_key_is_sent_and_stands_nowhere(
    tmp_path: Path, serve: Callable[[Reply], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    served = serve(lambda before, text: (401, f"wrong key: {SECRET}", 0))
    stage = stage_of("endpoint", {"api_key_env": "THE_KEY"}, url=served.url, model="m")
    outcome = run(tmp_path, stage)
    assert served.keys == {f"Bearer {SECRET}"}
    assert (outcome.status, outcome.cause) == ("failed", "bad data"), "asking again would not help"
    assert "wrong key: ***" in outcome.error
    written = [file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert not written
    monkeypatch.delenv("THE_KEY")
    assert "THE_KEY" in run(tmp_path, stage).error


def test_the_datasets_rule_judges(tmp_path: Path) -> None:
    lab, stage = Lab(**KNOBS), stage_of("rule")
    own = [row["chosen"] for row in lab.rows("pairs", "test")]
    start = [row["rejected"] for row in lab.rows("pairs", "test")]
    run(tmp_path, stage, own, start)
    gaps = [
        lab.score(p["prompt"], a)["total"] - lab.score(p["prompt"], b)["total"]
        for p, a, b in zip(PROMPTS, own, start, strict=True)
    ]
    assert scores(tmp_path, stage) == [0.5 + 0.5 * ((gap > 0) - (gap < 0)) for gap in gaps]
    assert measured(tmp_path, stage)["judge_inconsistent"] == 0


def test_how_it_is_asked_is_in_no_key() -> None:
    one, other = (
        stage_of("endpoint", url="http://x/v1", model="m"),
        stage_of("endpoint", {"parallel": 9}, url="http://x/v1", model="m"),
    )
    assert one.name == other.name
    assert one.name != stage_of("endpoint", url="http://x/v1", model="n").name
    assert one.name != stage_of("endpoint", url="http://x/v1", model="m", temperature=0.5).name


COST = {"device_seconds": 1.0, "devices": 1, "device": "cpu"}
RECIPE = 'name = "x"\nreplicates = 2\n[[algorithm]]\nname = "dpo"\n'


def test_a_recipe_with_judges(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(RECIPE)
    (tmp_path / "t.txt").write_text("{prompt} {first} {second}")
    (tmp_path / "r.toml").write_text(
        RECIPE + '[[judge]]\nsource = "rule"\n[[judge]]\nsource = "endpoint"\nurl = "http://x/v1"\nmodel = "m"\n'
        'template = "t.txt"\nparallel = 9\nprompts = 5\n'
    )
    plain, plan = (make_plan(read_recipe(tmp_path / name)) for name in ("plain.toml", "r.toml"))
    judges = [stage for stage in plan.stages() if isinstance(stage, Judge)]
    assert {stage.name for stage in plan.stages()} - {stage.name for stage in judges} == {
        s.name for s in plain.stages()
    }
    assert len(judges) == 4, "two judges of dpo in two replicates; the start is not held against itself"
    assert [stage.template for stage in judges[:2]] == [None, "{prompt} {first} {second}"] or judges[0].prompts == 5
    assert {stage.prompts for stage in judges} == {None, 5}


def test_wrong_judges(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        RECIPE + '[[judge]]\nsource = "endpont"\n[[judge]]\nsource = "endpoint"\nurl = "http://u:p@x/v1"\n'
        f'api_key_env = "{SECRET}"\ntemplate = "nothing"\nparalel = 3\n[[judge]]\nsource = "rule"\ndimension = "tone"\n'
    )
    with pytest.raises(HarnessError) as caught:
        read_recipe(path)
    text = str(caught.value)
    for part in (
        "did you mean 'endpoint'", "needs model", "a key goes into api_key_env", "must not be the key itself",
        "no template or file 'nothing'", "no knob 'paralel'", "no rule reward 'tone'",
    ):  # fmt: skip
        assert part in text
    assert SECRET not in text


def said(store: Store, stage: Stage, wins: list[float], inconsistent: float = 0.0) -> None:
    """A judge that has finished."""
    rows = [
        {"metric": metric, "role": "", "level": "prompt", "prompt_id": f"p{p}", "k": -1, "value": value}
        for metric, values in {"judge_win": wins, "judge_inconsistent": [inconsistent] * len(wins)}.items()
        for p, value in enumerate(values)
    ]
    folder = store.prepare(stage)
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
    store.finish(stage.name, {"files": {}, "measurements": [], "made_by": {}, "cost": COST, "seconds": 1.0})


def test_the_report_shows_win_rates_and_flags_a_biased_judge(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        RECIPE + '[[judge]]\nsource = "rule"\nlabel = "fair"\n[[judge]]\nsource = "rule"\nprompts = 4\n'
    )
    plan, store = make_plan(read_recipe(tmp_path / "r.toml")), Store(tmp_path / "results")
    for cell in plan.cells:
        for label, stage in cell.judges.items():
            fair = label == "fair"
            said(store, stage, [1.0, 1.0, 0.5, float(cell.replicate)] if fair else [0.5] * 4, float(not fair))
    tables = read(plan, store)
    sheet = judges_sheet(compare(plan, tables), plan, store, tables)
    fair, biased = sheet.frame.to_dict("records")
    assert (fair["win"], fair["inconsistent"], fair["flagged"], fair["runs"]) == (0.75, 0.0, False, 2)
    assert fair["win_low"] < 0.75 < fair["win_high"] <= 1
    assert (biased["win"], biased["inconsistent"], biased["flagged"]) == (0.5, 1.0, True)
    build(plan, store, tmp_path / "report")
    assert "Do not rely on rule" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("broken", "judged", "win", "runs"),
    [("grade", 2, 0.75, 2), ("grade", 1, 1.0, 1), ("sample", 1, 0.75, 1), ("train", 1, 0.75, 1)],
)
def test_a_judge_misses_the_runs_that_left_nothing_to_judge(
    tmp_path: Path, broken: str, judged: int, win: float, runs: int
) -> None:
    """A failed grade leaves the responses, which have been judged or will be; a lost policy counts one half."""
    (tmp_path / "r.toml").write_text(RECIPE + '[[judge]]\nsource = "rule"\n')
    plan, store = make_plan(read_recipe(tmp_path / "r.toml")), Store(tmp_path / "results")
    first, second = (cell for cell in plan.cells if not cell.is_start)
    for cell in (first, second)[:judged]:
        said(store, cell.judges["rule"], [0.5 if cell.replicate else 1.0] * 4)
    failed = {"grade": second.grades[None], "sample": second.samples[None], "train": second.policy}[broken]
    store.prepare(failed)
    store.fail(failed.name, {"cause": "network", "error": "the hub is away", "hint": ""})
    tables = read(plan, store)
    (row,) = judges_sheet(compare(plan, tables), plan, store, tables).frame.to_dict("records")
    assert (row["win"], row["runs"]) == (win, runs)
    build(plan, store, tmp_path / "report")


class Talk(SmallData):
    """The small world's words, and the verdicts."""

    def vocabulary(self) -> list[str]:
        return [*WORDS, "[[A]]", "[[B]]", "[[C]]"]


TEMPLATE = "{prompt} \n {first} \n {second}"


def chat_model(folder: Path, kind: str, **config: Any) -> Path:
    """A tiny chat model. `first` always says [[A]]; `any` weighs all that it reads, and says a verdict in any case."""
    tokenizer = new_tokenizer(Talk())
    model = new_model(tokenizer, hidden=16, layers=2, heads=2, seed=1, precision="float32").eval()
    model.config.tie_word_embeddings = False
    words, said = model.get_input_embeddings().weight, torch.zeros(len(tokenizer), 16)
    with torch.no_grad():
        words.mul_(30)
        a, b, c, asked = (tokenizer.convert_tokens_to_ids(word) for word in ("[[A]]", "[[B]]", "[[C]]", "<assistant>"))
        if kind == "first":
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            said[a], said[tokenizer.eos_token_id] = words[asked], words[a]
        else:
            words[: asked + 1] = 0  # of special and unknown words: what it says comes from the responses
            for weights in model.model.layers.parameters():
                weights.mul_(15 if weights.dim() > 1 else 1)
            said[a], said[c] = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))
            said[b] = -said[a]  # one of the two is above 0, which all other words get
        model.lm_head.weight = torch.nn.Parameter(said)
    for name, value in config.items():
        setattr(model.config, name, value)
    save_policy(model, tokenizer, folder)
    return folder


def local_stage(tmp_path: Path, **given: Any) -> Judge:
    (tmp_path / "t.txt").write_text(TEMPLATE)
    knobs = "".join(f"{name} = {json.dumps(value)}\n" for name, value in {"max_tokens": 2, **given}.items())
    path = tmp_path / "r.toml"
    path.write_text(f'{RECIPE}[[judge]]\nsource = "local"\nmodel = "judge"\ntemplate = "t.txt"\n{knobs}')
    (part,) = read_recipe(path).judges
    own = {"judge": judge_spec("local", dict(part.knobs)), "template": part.template, "asking": dict(part.asking)}
    return replace(stage_of("rule"), **own)


WORDY = ["w1 w2 w3 w4", "w5", "same", "w6 w7", "w8 w9 w1", "w2"]
OTHERS = ["w3", "w4 w5 w6", "same", "w9", "w1", "w7 w8 w2"]


def test_a_local_model_answers_as_it_does_by_itself(tmp_path: Path) -> None:
    """Against transformers' own greedy `generate`, one question at a time, without padding."""
    chat_model(tmp_path / "judge", "any")
    stage = local_stage(tmp_path, batch=4)
    outcome = run(tmp_path / "results", stage, WORDY, OTHERS)
    assert outcome.status == "done", outcome.error
    model, tokenizer = load_policy(tmp_path / "judge")
    words: dict[tuple[str, str], str] = {}
    for row in pq.read_table(tmp_path / "results" / stage.name / "answers.parquet").to_pylist():
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["text"]}], add_generation_prompt=True, return_tensors="pt"
        )
        whole = model.generate(**asked, do_sample=False, max_new_tokens=2, pad_token_id=tokenizer.pad_token_id)
        said = tokenizer.decode(whole[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["answer"] == said
        words[row["first"], row["second"]] = {"A": "first", "B": "second", "C": "tie"}[re.findall(r"[ABC]", said)[-1]]
    assert len(set(words.values())) > 1, "it does not always say the same"
    turned = {"first": "second", "second": "first", "tie": "tie"}
    expected = []
    for own, other in zip(WORDY, OTHERS, strict=True):
        forward, backward = words.get((own, other), "tie"), words.get((other, own), "tie")
        agreed = forward == turned[backward]
        expected.append({"first": 1.0, "second": 0.0, "tie": 0.5}[forward] if agreed else 0.5)
    assert scores(tmp_path / "results", stage) == expected


def test_a_local_judge_that_names_the_first_shown_is_flagged(tmp_path: Path) -> None:
    """Acceptance: from a model's weights to the warning in the report."""
    chat_model(tmp_path / "judge", "first")
    stage = local_stage(tmp_path)
    store = Store(tmp_path / "results")
    assert run(store.root, stage, WORDY, OTHERS).status == "done"
    assert scores(store.root, stage) == [0.5] * 6
    assert scores(store.root, stage, "judge_inconsistent") == [1, 1, 0, 1, 1, 1]
    plan = make_plan(read_recipe(tmp_path / "r.toml"))
    judges = [cell.judges["judge"] for cell in plan.cells if cell.judges]
    for own in judges:
        shutil.copytree(store.root / stage.name, store.prepare(own), dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("spec.json"))  # fmt: skip
    build(plan, store, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Do not rely on judge: what it says depends on which response stands first." in text


def test_a_local_judge_is_known_by_its_weights(tmp_path: Path) -> None:
    chat_model(tmp_path / "judge", "first")
    one = local_stage(tmp_path)
    assert local_stage(tmp_path, batch=2).name == one.name, "how it is asked is in no key"
    assert local_stage(tmp_path, max_tokens=5).name != one.name
    assert str(tmp_path) not in json.dumps(one.spec)
    chat_model(tmp_path / "judge", "any")
    assert local_stage(tmp_path).name != one.name, "other weights under the same name"
    outcome = run(tmp_path / "results", one, WORDY, OTHERS)
    assert outcome.cause == "bad data"
    assert "has changed since the stage was planned" in outcome.error


def test_what_a_local_judge_cannot_do_has_one_message(tmp_path: Path) -> None:
    chat_model(tmp_path / "judge", "first", max_position_embeddings=8)
    long = run(tmp_path / "a", local_stage(tmp_path), WORDY, OTHERS)
    assert re.search(r"reads 8 tokens; \d+ of 10 questions with max_tokens = 2 are longer, the longest \d+", long.error)
    (tmp_path / "judge" / "chat_template.jinja").unlink()
    assert "no chat template" in run(tmp_path / "b", local_stage(tmp_path), WORDY, OTHERS).error
    (tmp_path / "judge" / "config.json").unlink()
    with pytest.raises(HarnessError, match=r"r.toml:\d+: judge.model: folder judge has no config.json"):
        local_stage(tmp_path)


def test_a_padding_token_that_is_the_end_token_is_no_trouble_for_a_judge(tmp_path: Path) -> None:
    """As SmolLM2 has it: questions of different lengths are padded, and a judge learns nothing from it."""
    model, tokenizer = load_policy(chat_model(tmp_path / "judge", "any"))
    stage = local_stage(tmp_path)
    run(tmp_path / "a", stage, WORDY, OTHERS)
    tokenizer.pad_token = tokenizer.eos_token
    save_policy(model, tokenizer, tmp_path / "judge")
    other = local_stage(tmp_path)
    assert other.name != stage.name
    assert run(tmp_path / "b", other, WORDY, OTHERS).status == "done"
    assert scores(tmp_path / "b", other) == scores(tmp_path / "a", stage)


def test_two_names_for_one_judge_are_refused(tmp_path: Path) -> None:
    same = '[[judge]]\nsource = "endpoint"\nurl = "http://x/v1"\nmodel = "m"\n'
    (tmp_path / "r.toml").write_text(f'{RECIPE}{same}{same}label = "b"\ntemperature = 0\nparallel = 9\n')
    with pytest.raises(HarnessError, match=r"r.toml:9: \[\[judge\]\] 'b' is the same judge as 'm'"):
        read_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text(f'{RECIPE}{same}{same}label = "b"\ntemperature = 0.5\n')
    assert [part.label for part in read_recipe(tmp_path / "r.toml").judges] == ["m", "b"]


def test_what_judging_costs_and_loses_is_the_contestants(tmp_path: Path) -> None:
    """Its seconds with the evaluation's, failed attempts too; its failure among the gaps, and no failed run."""
    (tmp_path / "r.toml").write_text(RECIPE + '[[judge]]\nsource = "rule"\n')
    plan, store = make_plan(read_recipe(tmp_path / "r.toml")), Store(tmp_path / "results")
    for cell in plan.cells:
        for stage in (*walk(list(cell.samples[None].inputs.values())), *judged(cell, None)):
            write_scores(store.prepare(stage) / "scores.parquet", [])
            store.finish(stage.name, {"files": {}, "measurements": [], "made_by": {}, "cost": COST, "seconds": 1.0})
    own = {cell.replicate: cell.judges["rule"] for cell in plan.cells if cell.judges}
    store.prepare(own[0])
    cost = {**COST, "device_seconds": 5.0}
    lost = {"failed_device_seconds": 7.0}
    store.finish(own[0].name, {"files": {}, "measurements": [], "cost": cost, "seconds": 5.0, **lost})
    write_scores(store.root / own[0].name / "scores.parquet", [])
    store.prepare(own[1])
    store.fail(own[1].name, {"cause": "network", "error": "no answer", "hint": "", "cost": {"device_seconds": 3.0}})
    tables = read(plan, store)
    spent = tables.spent[tables.spent["part"] == "evaluation"].set_index(["contestant", "replicate"])["device_seconds"]
    alone = len(judged(next(cell for cell in plan.cells if cell.contestant == "dpo"), None))
    assert (spent["dpo", 0], spent["dpo", 1]) == (alone + 12, alone + 3)
    (gap,) = tables.no_judgments.to_dict("records")
    assert (gap["judge"], gap["replicate"], gap["status"], gap["cause"]) == ("rule", 1, "failed", "network")
    assert tables.gaps.empty, "the run itself has its scores"
    assert set(tables.costs[tables.costs["kind"] == "judge"]["used_by"]) == {1}
    (standing,) = (row for one in compare(plan, tables) for row in one.standings if row.name == "dpo")
    assert (standing.done, standing.failed) == (2, 0)
    assert "judge rule: 1 run failed: network" in standing.gap
    build(plan, store, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Of runs with scores: 1 run without judge rule (failed)." in text
    assert "1 run failed (network): no answer" in text
