"""Wrong input from outside: one message that says what came and what would be right, and nothing private in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from bricks import PLUGINS, brick
from test_cli import inside

from harness.commands.enough import check_prompts
from harness.data import Dataset
from harness.errors import HarnessError
from harness.execute import execute
from harness.plan import make_plan
from harness.public import public
from harness.recipe import read_recipe
from harness.stages import Train, dataset_spec, open_dataset
from harness.store import Store

SECRET = "hf_" + "a1B2" * 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def opened(folder: Path, table: str) -> Dataset:
    recipe = folder / "r.toml"
    recipe.write_text(f'name = "x"\n[[dataset]]\n{table}\n[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n')
    part = read_recipe(recipe).datasets[0]
    return open_dataset(dataset_spec(part.name, dict(part.knobs)))


def test_a_csv_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("prompt,chosen,rejected\nWarum?,Schön.,Nö.\n".encode("cp1252"))
    table = 'source = "a.csv"\nsplits = {train = 1.0}\n'
    with pytest.raises(HarnessError, match=r"a\.csv.*not utf-8.*encoding = "):
        opened(tmp_path, table).rows("pairs", "train")
    (row,) = opened(tmp_path, f'{table}encoding = "cp1252"').rows("pairs", "train")
    assert row["chosen"] == "Schön."


def test_more_prompts_are_asked_for_than_there_are(tmp_path: Path) -> None:
    from harness.stages.specs import asked_by, training_rows

    rows = [{"prompt": f"Why {i}?", "chosen": "a", "rejected": "b"} for i in range(10)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = opened(tmp_path, 'source = "a.jsonl"\nsplits = {train = 1.0}')
    told = r"budget.prompts asks for 1000 prompts; split 'train' has 10 with pairs"
    with pytest.raises(HarnessError, match=told):
        training_rows(data, "pairs", "train", 1000)
    with pytest.raises(HarnessError, match=r"^evaluation.prompts asks for 11 prompts"):
        training_rows(data, "prompts", "train", 11, asked_by("test"))
    with pytest.raises(HarnessError, match=r"^tune.prompts asks for 11 prompts"):
        training_rows(data, "prompts", "train", 11, asked_by("tune"))


def test_a_gated_model_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from harness.inference.loading import load_chat

    def refuse(*_: object, **__: object) -> None:
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it at the hub.")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(HarnessError, match=r"model 'meta-llama/x' \(revision main\) .*gated repo.*hf auth login"):
        load_chat("meta-llama/x", "", "", False, "float32")


@pytest.mark.parametrize("form", ["an environment variable", "its form"])
def test_no_secret_is_in_a_failure_or_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    secret = SECRET if form == "its form" else "correct-horse-battery"
    if form == "an environment variable":
        monkeypatch.setenv("SOME_SERVICE_TOKEN", secret)
    stage = brick("a", trouble="bad data")
    folder = Store(tmp_path).prepare(stage)

    def run(self: Train, *given: object) -> object:
        print(f"asking with {secret} for {tmp_path}/weights")
        raise HarnessError(f"401 for https://hub?token={secret} in {tmp_path}/cache/model")

    monkeypatch.setattr(Train, "run", run)
    assert execute(folder).status == "failed"
    for name in ("failed.json", "log.txt"):
        text = (folder / name).read_text()
        assert "***" in text
        assert secret not in text
        assert str(tmp_path) not in text


def test_words_and_numbers_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "train")
    assert public("train at 3e-4, hf_hub and sk-learn, a/b/c") == "train at 3e-4, hf_hub and sk-learn, a/b/c"


def test_too_few_prompts_for_the_evaluation_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why is it {i}?", "chosen": f"{i} a", "rejected": f"{i} b"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "few.toml").write_text(
        'name = "few"\n[[dataset]]\nsource = "a.jsonl"\n[evaluation]\nprompts = 100\n[launch]\nexecutor = "inline"\n'
        '[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n[[model]]\nsource = "nobody/nothing"\n'
    )
    done = inside("run", "few.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    assert "few.toml: evaluation.prompts asks for 100 prompts; split 'test' has 3 with" in str(done.exception)
    assert not list((tmp_path / "results").glob("*-*"))


def test_of_several_datasets_the_one_with_too_few_prompts_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        'name = "r"\n[evaluation]\nprompts = 21\n[[dataset]]\nsource = "lab"\n[[dataset]]\nsource = "lab"\n'
        'label = "small"\nevaluation = 20\n[[algorithm]]\nname = "dpo"\n'
    )
    done = inside("plan", "r.toml", cwd=tmp_path)
    told = "r.toml: dataset 'small': evaluation.prompts asks for 21 prompts; split 'test' has 20 with prompts"
    assert done.stderr == f"{told}; what rests on that will fail, and all else goes on\n"
    assert done.exit_code == 0


@pytest.mark.parametrize("command", ["plan", "run", "tune"])
@pytest.mark.parametrize(
    ("knob", "split", "count"), [("evaluation", "test", 20), ("tune", "tune", 20), ("budget", "train", 30)]
)
def test_too_few_prompts_of_data_that_are_made_are_told_before_anything_is_trained(
    command: str, knob: str, split: str, count: int, tmp_path: Path
) -> None:
    asked = {"evaluation": 20, "tune": 20, "budget": 30} | {knob: count + 1}
    tables = "".join(f"[{name}]\nprompts = {number}\n" for name, number in asked.items())
    (tmp_path / "r.toml").write_text(
        f'name = "r"\n{tables}[[dataset]]\nsource = "lab"\nevaluation = 20\ntrain = 30\n'
        '[launch]\nexecutor = "inline"\n[[algorithm]]\nname = "dpo"\n'
    )
    done = inside(command, "r.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    told = f"r.toml: {knob}.prompts asks for {count + 1} prompts; split '{split}' has {count} with prompts"
    assert str(done.exception) == told
    assert not list((tmp_path / "results").glob("*-*"))


def test_a_search_on_a_file_without_tune_prompts_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why is it {i}?", "chosen": f"{i} a", "rejected": f"{i} b"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "few.toml").write_text(
        'name = "few"\n[[dataset]]\nsource = "a.jsonl"\n[evaluation]\nprompts = 2\nbest_of_prompts = 2\n[tune]\n'
        '[launch]\nexecutor = "inline"\n[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n'
        '[[model]]\nsource = "nobody/nothing"\n'
    )
    done = inside("run", "few.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    assert "few.toml: split 'tune' has no prompts" in str(done.exception)
    assert not list((tmp_path / "results").glob("*-*"))


def test_where_a_folder_of_tasks_lies_is_in_no_report(tmp_path: Path) -> None:
    from harness.records import read
    from harness.report.method import method_section

    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.yaml").write_text("task: one\n")
    (tmp_path / "r.toml").write_text(
        'name = "r"\n[[benchmark]]\nfolder = "tasks"\ntasks = ["one"]\n[[algorithm]]\nname = "dpo"\n'
    )
    plan = make_plan(read_recipe(tmp_path / "r.toml"))
    section = method_section(plan, read(plan, Store(tmp_path / "results")), [], held_out=True)
    assert '"sha256"' in str(section)
    assert str(tmp_path) not in str(section)


def test_where_a_model_and_a_file_lie_is_in_no_label(tmp_path: Path, shelf: Path) -> None:
    rows = [{"prompt": f"Why {i}?", "chosen": "a", "rejected": "b"} for i in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, file = shelf / tiny.START / "policy", tmp_path / "a.jsonl"
    (tmp_path / "r.toml").write_text(
        f'name = "r"\n[[model]]\nsource = "{model}"\n[[dataset]]\nsource = "{file}"\n[[start]]\nname = "base"\n'
        f'[[algorithm]]\nname = "dpo"\n[reward.gold]\nbase = {{source = "{model}"}}\n'
        f'[[judge]]\nsource = "local"\nmodel = "{model}"\n'
    )
    plan = make_plan(read_recipe(tmp_path / "r.toml"))
    assert {(cell.model, cell.dataset) for cell in plan.cells} == {("policy", "a.jsonl")}
    assert {judge for cell in plan.cells for judge in cell.judges} == {"policy"}
    assert str(shelf) not in str([stage.spec for stage in plan.stages()])


def own_pairs(folder: Path, text: str, count: int = 40) -> Path:
    """A recipe on pairs of one's own."""
    rows = [{"prompt": f"Why is it {i}?", "chosen": f"{i} a", "rejected": f"{i} b"} for i in range(count)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = folder / "own.toml"
    recipe.write_text(f'name = "own"\n[launch]\nexecutor = "inline"\n[[algorithm]]\nname = "dpo"\n{text}')
    return recipe


HUB = '[[model]]\nsource = "nobody/nothing"\n'
BASE = '[[start]]\nname = "base"\n'
OF_A = '[[dataset]]\nsource = "a.jsonl"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OF_A + BASE, "dpo: the lab model is pretrained on the dataset's text, and 'a.jsonl' has none: name a"),
        (OF_A + HUB, '\'a.jsonl\' has pairs, prompts; with pairs alone, say [[start]] name = "sft_chosen" or "base"'),
    ],
)  # fmt: skip
def test_what_own_data_cannot_give_is_told_by_the_plan(tmp_path: Path, text: str, told: str) -> None:
    own_pairs(tmp_path, text)
    done = inside("plan", "own.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    assert told in str(done.exception)


def test_beside_the_lab_own_data_is_cut_and_asks_for_no_lab_model(tmp_path: Path) -> None:
    plan = make_plan(read_recipe(own_pairs(tmp_path, OF_A + '[[dataset]]\nsource = "lab"\n' + BASE)))
    assert {cell.dataset for cell in plan.cells if cell.trained} == {"lab"}
    assert {cell.dataset for cell in plan.cells if "name a [[model]]" in cell.reason} == {"a.jsonl"}
    assert {spec["source"] for stage in plan.stages() if (spec := stage.spec.get("dataset"))} == {"lab"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OF_A + 'splits = {train = 1.0}\n[evaluation]\nprompts = 2\n', "own.toml: split 'test' has no prompts"),
        (OF_A + "[budget]\nprompts = 1000\n", r"own.toml: budget.prompts asks for 1000 prompts; split 'train' has \d+"),
        (OF_A + "[reward.gold]\nprompts = 99\n", r"own.toml: reward.gold.prompts asks for 99 prompts; split 'gold'"),
        (OF_A + "[evaluation]\nprompts = 300\n", r"own.toml: evaluation.best_of_prompts asks for 64 prompts; split"),
    ],
)  # fmt: skip
def test_too_few_rows_are_told_before_anything_is_trained(tmp_path: Path, text: str, told: str) -> None:
    own_pairs(tmp_path, text + HUB + BASE)
    done = inside("run", "own.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    assert re.search(told, str(done.exception)), str(done.exception)
    assert not list((tmp_path / "results").glob("*-*"))


def test_that_no_row_is_short_enough_for_a_judge_is_told_before_anything_is_trained(
    tmp_path: Path, shelf: Path
) -> None:
    model = shelf / tiny.START / "policy"
    text = f'[[model]]\nsource = "{model}"\n[reward.gold]\nmax_response_tokens = 1\n' + BASE
    own_pairs(tmp_path, OF_A + "[evaluation]\nprompts = 2\nbest_of_prompts = 2\n" + text)
    done = inside("run", "own.toml", cwd=tmp_path)
    assert isinstance(done.exception, HarnessError)
    told = r"own.toml: split 'gold': none of \d+ rows of pairs fits max_prompt_tokens = 64 and max_response_tokens = 1"
    assert re.fullmatch(f".*{told} \\(reward.gold\\)", str(done.exception)), str(done.exception)
    assert not list((tmp_path / "results").glob("*-*"))


SHORT = "[evaluation]\nprompts = 2\nbest_of_prompts = 2\n"
SHARES = "train = 0.5, proxy = 0.1, selection = 0.1, gold = 0.1, test = 0.1"


@pytest.mark.parametrize(
    ("share", "tables", "why"),
    [
        ("", False, "its share is 0; give it one with splits = {...}"),
        ("", True, "its share is 0; give it one with splits = {...}"),
        (", heldout = 0.0001", True, "there are too few rows, or its share is too small"),
        (", heldout = 0.0001", False, ""),
        (", heldout = 0.1", True, ""),
    ],
)
def test_that_nothing_is_held_out_is_told_before_anything_is_trained(
    tmp_path: Path, shelf: Path, capsys: pytest.CaptureFixture[str], share: str, tables: bool, why: str
) -> None:
    """What a file holds is not read for a plan."""
    model = f'[[model]]\nsource = "{shelf / tiny.START / "policy"}"\n'
    recipe = own_pairs(tmp_path, f"{OF_A}splits = {{{SHARES}{share}}}\n{SHORT}{model}{BASE}", count=200)
    check_prompts(make_plan(read_recipe(recipe)), Store(tmp_path / "results"), tables=tables)
    what = "the accuracy of reward models and what policies make of labelled pairs are not measured"
    assert capsys.readouterr().err == (f"{recipe}: split 'heldout' has no pairs: {why}; {what}\n" if why else "")


@pytest.fixture
def long(tmp_path: Path, shelf: Path) -> Path:
    """A recipe whose model has no room for the longest response behind every fourth prompt."""
    shutil.copytree(shelf / tiny.START / "policy", tmp_path / "short")
    config = tmp_path / "short" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 64}))
    splits = f"splits = {{{SHARES}, heldout = 0.1}}\n"
    asked = "[evaluation]\nprompts = 12\nbest_of_prompts = 2\n"
    budget = "[budget]\nmax_prompt_tokens = 40\nmax_response_tokens = 10\n"
    recipe = own_pairs(tmp_path, f'{OF_A}{splits}{asked}{budget}[[model]]\nsource = "./short"\n{BASE}')
    rows = [
        {"prompt": f"Why is it {i}? {'bak ' * (60 if i % 4 == 0 else 1)}", "chosen": f"{i} a", "rejected": f"{i} b"}
        for i in range(200)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return recipe


def test_prompts_too_long_to_be_answered_are_told_before_anything_is_trained(long: Path) -> None:
    part = read_recipe(long).datasets[0]
    asked = open_dataset(dataset_spec(part.name, dict(part.knobs))).first("prompts", "test", 12)
    count = sum(len(row["prompt"][0]["content"].split()) > 60 for row in asked)
    assert 0 < count < 12
    done = inside("run", "own.toml", cwd=long.parent)
    assert isinstance(done.exception, HarnessError)
    room = "prompts to answer leave no room for budget.max_response_tokens = 10 in the 64 tokens that 'short' reads"
    assert f"own.toml: split 'test': {count} of 12 {room}, the longest has " in str(done.exception)
    assert not list((long.parent / "results").glob("*-*"))


def test_of_several_models_the_one_that_reads_too_little_is_named(
    long: Path, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f'[[model]]\nsource = "{shelf / tiny.START / "policy"}"\n'
    long.write_text(long.read_text().replace("[[model]]", f"{model}[[model]]"))
    check_prompts(make_plan(read_recipe(long)), Store(long.parent / "results"))
    said = capsys.readouterr().err.splitlines()
    assert len({line.partition(" prompts to answer")[2] for line in said}) == len(said) == 1
    assert "that 'short' reads" in said[0]
    assert said[0].endswith("; what rests on that will fail, and all else goes on")


TWO = """
name = "two"
replicates = 1
[[model]]
source = "{model}"
[[dataset]]
source = "whole.jsonl"
label = "whole"
[[dataset]]
source = "cut.jsonl"
label = "shortened"
[[start]]
name = "base"
[budget]
prompts = 8
steps = 1
batch = 8
max_response_tokens = 8
[evaluation]
prompts = 4
samples = 2
pairs = 4
best_of = 0
greedy = false
metrics = ["reward"]
[reward.proxy]
steps = 1
[reward.selection]
steps = 1
[reward.gold]
steps = 1
[launch]
executor = "inline"
[[algorithm]]
name = "dpo"
[[algorithm]]
name = "simpo"
"""
CUT = "cut.jsonl, line 2: is no JSON"
LAST = "on_bad = 'drop' leaves bad rows out and counts them"


@pytest.fixture(scope="module")
def beside_a_broken_file(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> tuple[Path, str]:
    """A comparison on two files, one of them broken, and what `harness run` has said."""
    folder = tmp_path_factory.mktemp("two")
    words = [f"{one} {other}" for one in tiny.WORDS[:10] for other in tiny.WORDS[10:20]]
    rows = [json.dumps({"prompt": text, "chosen": text[:3], "rejected": text[-3:]}) for text in words]
    (folder / "whole.jsonl").write_text("\n".join(rows))
    (folder / "cut.jsonl").write_text("\n".join([rows[0], rows[1][:20], *rows[2:-1], rows[-1][:30]]))
    (folder / "two.toml").write_text(TWO.format(model=shelf / tiny.START / "policy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        done = inside("run", "two.toml", cwd=folder)
    assert done.exit_code == 1, done.output
    return folder, done.stderr


@pytest.fixture
def at_two(beside_a_broken_file: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of that comparison, and its cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(beside_a_broken_file[0] / "cache"))
    return beside_a_broken_file[0]


def failures(folder: Path) -> list[str]:
    return [json.loads(file.read_text())["error"] for file in folder.glob("results/*/failed.json")]


def test_a_broken_file_is_told_once_however_many_stages_meet_it(beside_a_broken_file: tuple[Path, str]) -> None:
    folder, told = beside_a_broken_file
    kept = failures(folder)
    assert len(kept) > 4
    assert all(error.startswith(CUT) and error.endswith(LAST) for error in kept), "nothing is lost on the disk"
    assert (told.count(CUT), told.count(LAST)) == (1, 1)
    lines = told.splitlines()
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == len(kept)
    assert all(" · shortened (bad data): " in line for line in failed), "each says whose data it is"
    first = failed[0].removeprefix("failed: ").partition(" (")[0]
    assert all(f" (bad data): the same as {first} [" in line for line in failed[1:])
    (last,) = (line for line in lines if line.startswith("failed (bad data): "))
    assert last.startswith(f"failed (bad data): {first}; the same for {len(kept) - 1} more: ")
    assert last.endswith("; mend what the message names, and run again")


def test_what_a_broken_file_blocks_is_counted_and_the_other_file_goes_on(
    beside_a_broken_file: tuple[Path, str],
) -> None:
    _, told = beside_a_broken_file
    blocked = [line for line in told.splitlines() if "; blocked: " in line]
    assert len(blocked) <= len([line for line in told.splitlines() if line.startswith("failed: ")])
    assert any(line.count(" · shortened") > 1 for line in blocked), "what one failure blocks stands in one line"
    assert "; finished: grade simpo r0 · whole\n" in told
    assert "; finished: train pretrained\n" in told, "what both datasets share is of neither"


def test_status_tells_it_once(at_two: Path) -> None:
    kept, said = failures(at_two), inside("status", "two.toml", cwd=at_two).stdout
    assert (said.count(CUT), said.count(LAST)) == (1, 1)
    assert f"\n          the same for {len(kept) - 1} more: " in said
    assert all(line.startswith(" " * 10) for line in said.splitlines()[2:]), "lines of a message stand below its first"
    found = json.loads(inside("status", "two.toml", "--json", cwd=at_two).stdout)["failures"]
    assert [one["error"] for one in found] == [kept[0]] * len(kept), "a program is told each"


def test_the_list_of_gaps_tells_it_once(at_two: Path) -> None:
    page = (at_two / "reports" / "two" / "report.md").read_text()
    (gaps,) = (part for part in page.split("\n## ") if part.startswith("Gaps\n"))
    rows = [line.split(" | ") for line in gaps.splitlines() if "shortened" in line]
    assert len(rows) == 3
    assert (gaps.count(CUT), gaps.count(LAST)) == (1, 1)
    assert [row[7] for row in rows[1:]] == ["the same"] * 2
    file = (at_two / "reports" / "two" / "tables" / "gaps.csv").read_text()
    assert file.count(CUT) == 3, "the file has it in each row"


def test_logs_are_found_with_and_without_the_dataset(at_two: Path) -> None:
    assert inside("logs", "two.toml", "reward gold · whole", cwd=at_two).stdout.startswith(
        "reward gold · whole: done ["
    )
    said = inside("logs", "two.toml", "reward gold", cwd=at_two).stdout
    assert said.startswith("reward gold · shortened: failed ["), "of several the one that failed"
    assert "\nalso: reward gold · whole [" in said


def changed(file: Path, **given: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **given}))


def without_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def with_another_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"a": 1}')


def with_a_word_for_a_size(model: Path) -> None:
    changed(model / "config.json", hidden_size="x")


def with_another_size(model: Path) -> None:
    changed(model / "config.json", hidden_size=1024)


def with_another_layer(model: Path) -> None:
    layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
    changed(model / "config.json", num_hidden_layers=layers + 1, layer_types=None)


def of_no_kind(model: Path) -> None:
    changed(model / "config.json", model_type="nosuch")


BROKEN = {
    without_template: "the tokenizer has no chat template; a policy cannot be asked without one: give the model",
    with_another_tokenizer: "cannot be loaded: there is no 'added_tokens'. It has to hold",
    with_a_word_for_a_size: "cannot be loaded: Validation error for field 'hidden_size': TypeError: Field 'hidden_",
    with_another_size: "cannot be loaded: sizes differ (",
    with_another_layer: "cannot be loaded: 9 weights that the config asks for are in no file (model.layers.",
    of_no_kind: "cannot be loaded: The checkpoint you are trying to load has model type `nosuch`",
}
"""What is done to a model's folder, and what is said of it."""


@pytest.fixture(scope="module")
def beside_broken_models(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> tuple[Path, str, str]:
    """A comparison of a model and of broken copies of it: its folder, and what `run` and then `plan` have said."""
    folder = tmp_path_factory.mktemp("models")
    words = [f"{one} {other}" for one in tiny.WORDS[:10] for other in tiny.WORDS[10:20]]
    rows = [json.dumps({"prompt": text, "chosen": text[:3], "rejected": text[-3:]}) for text in words]
    (folder / "whole.jsonl").write_text("\n".join(rows))
    more = ""
    for spoil in BROKEN:
        model = shutil.copytree(shelf / tiny.START / "policy", folder / spoil.__name__)
        spoil(model)
        more += f'[[model]]\nsource = "./{spoil.__name__}"\nlabel = "{spoil.__name__}"\n'
    text = TWO.format(model=shelf / tiny.START / "policy").replace(
        '[[dataset]]\nsource = "cut.jsonl"\nlabel = "shortened"\n', ""
    )
    (folder / "two.toml").write_text(text.replace("[[dataset]]", f'label = "good"\n{more}[[dataset]]'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        done, planned = (inside(command, "two.toml", cwd=folder) for command in ("run", "plan"))
    assert (done.exit_code, planned.exit_code) == (1, 0), done.output
    return folder, done.stderr, planned.stderr


@pytest.mark.parametrize("spoil", BROKEN)
def test_a_broken_model_is_told_once_and_before_it_ends_nothing(
    beside_broken_models: tuple[Path, str, str], spoil: Callable[[Path], None]
) -> None:
    folder, told, planned = beside_broken_models
    name, said = spoil.__name__, BROKEN[spoil]
    where = "" if spoil is without_template else f"model folder '{name}' "
    (line,) = (line for line in told.splitlines() if said in line)
    assert line.startswith(f"failed: train pretrained · {name} (bad data): {where}{said}")
    assert f"{folder.name}/{name}" not in told
    assert said not in planned


def test_the_good_model_beside_broken_ones_is_finished(beside_broken_models: tuple[Path, str, str]) -> None:
    folder, told, _ = beside_broken_models
    for contestant in ("base", "dpo", "simpo"):
        assert f"; finished: grade {contestant} r0 · good\n" in told
    assert len(failures(folder)) == len(BROKEN)
    assert "(bug)" not in told
    assert all(re.match(r"\d+/|failed|\d+ stages ran", line) for line in told.splitlines()), "no warning of a library"


def test_data_are_shown_beside_a_model_without_a_template(
    beside_broken_models: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = beside_broken_models[0]
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
    text = (folder / "two.toml").read_text()
    good = re.search(r'^source = "(/.*policy)"$', text, re.MULTILINE)
    assert good
    own = text.replace(f'source = "{good[1]}"\nlabel = "good"\n[[model]]\n', "", 1)
    (folder / "own.toml").write_text(own)
    done = inside("data", "own.toml", cwd=folder)
    assert done.exit_code == 0
    assert "lengths are not known: the tokenizer has no chat template" in done.stdout


def test_messages_that_name_their_own_stage_alone_are_the_same() -> None:
    from harness.causes import alike

    found = {
        "train-1": ("bad data", "train-1 cannot read a.jsonl"),
        "train-2": ("timeout", "train-2 cannot read a.jsonl"),
        "train-3": ("bad data", "train-3 cannot read a.jsonl"),
        "train-4": ("bad data", "train-4 cannot read b.jsonl"),
    }
    assert alike(found) == [["train-1", "train-3"], ["train-2"], ["train-4"]]
    assert alike({"a": ("bug", "dpo r0: no"), "b": ("bug", "dpo r1: no")}, {"a": "dpo r0", "b": "dpo r1"}) == [
        ["a", "b"]
    ]
