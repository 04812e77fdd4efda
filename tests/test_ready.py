"""Ready-made reward models: kept, keyed by what they are, read with their own template, or refused with a reason."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import WORDS, SmallData, save_small_policy, save_small_reward
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from harness.commands.plan import describe
from harness.errors import HarnessError
from harness.inference.ready import folder_digest
from harness.inference.scoring import RewardModel
from harness.plan import Plan, make_plan
from harness.recipe import read_recipe
from harness.stages import Ready, from_spec
from harness.store import Store

OWN_TEMPLATE = (
    "{% for m in messages %}{{ 'w7 ' if m['role'] == 'user' else 'w8 w8 ' }}{{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}w9{% endif %}"
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def foreign(folder: Path, seed: int = 0) -> Path:
    """Somebody else's reward model: its own template, and no trace of this project."""
    save_small_reward(folder.parent / f"made-{seed}", seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(folder.parent / f"made-{seed}" / "reward", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = OWN_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def stage_of(folder: Path) -> Ready:
    return Ready({}, source="folder", sha256=folder_digest(folder), path=str(folder))


def kept(folder: Path, out: Path, stage: Ready | None = None) -> Path:
    out.mkdir()
    (stage or stage_of(folder)).run(out, {}, 50)
    return out / "reward"


def texts() -> list[tuple[list[dict[str, str]], str]]:
    rows = SmallData().rows("pairs", "test")
    return [(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")]


def test_it_reads_a_conversation_as_its_own_template_writes_it(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    for prompt, response in texts():
        said = f"w7 {prompt[-1]['content']} w8 w8 {response} "
        with torch.inference_mode():
            expected.append(model(**tokenizer(said, return_tensors="pt", add_special_tokens=False)).logits.item())
    reward = RewardModel(kept(folder, tmp_path / "out"))
    for batch in (1, 5, 64):
        assert reward.score(texts(), batch) == pytest.approx(expected, abs=1e-4)
    assert RewardModel(folder).score(texts(), 8) != pytest.approx(expected, abs=1e-3), "as one of the harness's own"


def test_an_encoder_is_read_as_well(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, num_labels=1, pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    reward = RewardModel(kept(folder, tmp_path / "out"))
    prompt, response = texts()[3]
    ids = tokenizer(f"w7 {prompt[-1]['content']} w8 w8 {response} ", return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        expected = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).logits.item()
    assert reward.score(texts(), 8)[3] == pytest.approx(expected, abs=1e-4)


def test_the_same_model_has_one_name_wherever_it_lies(tmp_path: Path) -> None:
    one = foreign(tmp_path / "one")
    shutil.copytree(one, tmp_path / "two")
    (tmp_path / "two" / ".cache").mkdir()
    (tmp_path / "two" / ".cache" / "x").write_text("hidden files are no part of it")
    first, second = stage_of(one), stage_of(tmp_path / "two")
    assert first.path != second.path
    assert first.name == second.name
    assert from_spec(json.loads(json.dumps(first.spec)), {}).name == first.name
    (tmp_path / "two" / "config.json").write_text((one / "config.json").read_text() + " ")
    assert stage_of(tmp_path / "two").name != first.name


def test_a_name_belongs_to_content_and_not_only_to_sizes(tmp_path: Path) -> None:
    one = foreign(tmp_path / "one")
    before = stage_of(one).name
    text = (one / "config.json").read_text()
    (one / "config.json").write_text(text[::-1])
    assert stage_of(one).name != before


def test_a_model_that_has_changed_or_gone_is_refused(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs")
    stage = stage_of(folder)
    (folder / "more.txt").write_text("more")
    with pytest.raises(HarnessError, match="has changed since the recipe was read"):
        kept(folder, tmp_path / "a", stage)
    shutil.rmtree(folder)
    with pytest.raises(HarnessError, match="is not there any more"):
        kept(folder, tmp_path / "b", stage)


def test_a_hub_model_comes_from_the_hub_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own client, on a cache that holds the commit, without a network."""
    snapshot = tmp_path / "hub" / "models--owner--theirs" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    shutil.move(foreign(tmp_path / "theirs"), snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reward = kept(tmp_path / "theirs", tmp_path / "out", Ready({}, source="owner/theirs", revision=COMMIT))
    assert json.loads((reward / "ready.json").read_text())["revision"] == COMMIT
    assert len(RewardModel(reward).score(texts(), 8)) == 24
    with pytest.raises(HarnessError, match=f"cannot fetch owner/theirs at {'f' * 40} from the hub"):
        kept(tmp_path / "theirs", tmp_path / "b", Ready({}, source="owner/theirs", revision="f" * 40))


def change(name: str) -> Callable[[Path], None]:
    def tokenizer(folder: Path, **given: Any) -> None:
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **given}))

    def no_template(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer(folder, chat_template=None)

    def two_numbers(folder: Path) -> None:
        save_small_reward(folder.parent / "wide", 0, labels=2)
        shutil.copytree(folder.parent / "wide" / "reward", folder, dirs_exist_ok=True)

    def a_policy(folder: Path) -> None:
        save_small_policy(folder.parent / "policy")
        shutil.copytree(folder.parent / "policy" / "policy", folder, dirs_exist_ok=True)

    def no_head(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file({name: value for name, value in weights.items() if name != "score.weight"},
                  folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip

    def refusing(folder: Path) -> None:
        own = AutoTokenizer.from_pretrained(folder)
        own.chat_template = "{{ raise_exception('no system turn please') }}"
        own.save_pretrained(folder)

    def twice_begun(folder: Path) -> None:
        own = AutoTokenizer.from_pretrained(folder)
        own.chat_template = "{{ bos_token }}{{ bos_token }}" + OWN_TEMPLATE
        own.save_pretrained(folder)

    def no_kind(folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    def cut_off(folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])

    def another_size(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))

    def another_tokenizer(folder: Path) -> None:
        (folder / "tokenizer.json").write_text('{"a": 1}')

    def no_pad(folder: Path) -> None:
        tokenizer(folder, pad_token=None)

    return locals()[name]  # type: ignore[no-any-return]  # one of the above


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("two_numbers", "is no reward model: its head gives 2 numbers, not 1"),
        ("a_policy", "is no reward model: it is a LlamaForCausalLM"),
        ("no_head", r"is no reward model: it lacks score\.weight"),
        ("no_pad", "has no padding token"),
        ("no_kind", "the reward model theirs cannot be loaded: .*has to hold the config of a sequence classifier"),
        ("cut_off", "the reward model theirs cannot be loaded: .*safetensors and a tokenizer"),
        ("another_size", "the reward model theirs cannot be loaded: sizes of weights are not those of its config"),
        ("another_tokenizer", "the reward model theirs cannot be loaded: there is no 'added_tokens'"),
        ("no_template", "has no chat template"),
        ("refusing", "chat template cannot write this conversation: no system turn please"),
        ("twice_begun", "both write the begin token"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_one_message(tmp_path: Path, what: str, message: str) -> None:
    folder = foreign(tmp_path / "theirs")
    change(what)(folder)
    with pytest.raises(HarnessError, match=message) as told:
        kept(folder, tmp_path / "out")
    assert len(str(told.value).splitlines()) == 1


def test_too_long_is_an_error_in_training_and_counted_in_an_audit(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 9}))
    reward = RewardModel(kept(folder, tmp_path / "out"))
    asked = [(texts()[0][0], "w1"), (texts()[0][0], " ".join(WORDS))]
    assert [score is None for score in reward.score_readable(asked, 8)] == [False, True]
    with pytest.raises(HarnessError, match="reads 9 tokens; 1 of 2 prompts with their responses are longer"):
        reward.score(asked, 8)


def plan_of(folder: Path, text: str) -> Plan:
    recipe = folder / "r.toml"
    recipe.write_text('name = "x"\nreplicates = 2\n' + text + '\n[[algorithm]]\nname = "rloo"\n')
    return make_plan(read_recipe(recipe))


def test_a_recipe_may_name_ready_models_for_any_role(tmp_path: Path) -> None:
    foreign(tmp_path / "gold")
    foreign(tmp_path / "proxy", 1)
    own = f'[reward.selection]\nsource = "owner/theirs"\nrevision = "{COMMIT}"\n'
    plan = plan_of(tmp_path, f'[reward.gold]\nsource = "gold"\n[reward.proxy]\nsource = "proxy"\n{own}')
    roles = [plan.rewards["lab", "lab", replicate] for replicate in range(2)]
    assert roles[0] == roles[1], "a ready-made model is the same for all replicates"
    assert {stage.kind for stage in roles[0].values()} == {"ready"}
    assert roles[0]["selection"].spec["revision"] == COMMIT
    rloo = next(cell for cell in plan.cells if cell.contestant == "rloo")
    assert rloo.policy.inputs["reward"] == roles[0]["proxy"]
    assert rloo.grades[None].inputs["gold"] == roles[0]["gold"]
    assert "train reward" not in {f"{s.kind} {s.spec.get('algorithm', {}).get('name')}" for s in plan.stages()}


def test_a_ready_gold_changes_no_training_key(tmp_path: Path) -> None:
    foreign(tmp_path / "gold")
    before, after = plan_of(tmp_path, ""), plan_of(tmp_path, '[reward.gold]\nsource = "gold"\n')
    kinds = ("train", "reference", "collect", "sample")
    one, other = ({s.name for s in plan.stages() if s.kind in kinds} for plan in (before, after))
    assert other < one
    assert {s.split for s in before.stages() if s.name in one - other} == {"gold", "pretrain"}  # type: ignore[attr-defined]


def test_gold_may_rest_on_another_model(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, '[reward.gold]\nbase = { source = "lab", hidden = 64 }\n')
    gold = plan.rewards["lab", "lab", 0]["gold"]
    assert gold.inputs["start"].spec["algorithm"]["knobs"]["hidden"] == 64
    assert gold.inputs["start"].spec["seed"] == "pretrain-1"
    policy = next(cell.policy for cell in plan.cells if cell.contestant == "rloo")
    assert policy.inputs["start"].inputs["start"].spec["algorithm"]["knobs"]["hidden"] == 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[reward.gold]\nsource = "nowhere"\n', "r.toml:4: reward.gold.source is 'nowhere'; it must be a folder that is there, or a model of the hub"),
        ('[reward.gold]\nsource = "empty"\n', "r.toml:4: reward.gold.source is the folder 'empty', which has no config.json and no *.safetensors; a reward model's folder has both"),
        ('[reward.gold]\nsource = 7\n', "r.toml:4: reward.gold.source is 7; it must be a folder"),
        ('[reward.gold]\nsource = "owner/theirs"\n', "r.toml:3: reward.gold.revision is missing; it must be the 40 hexadecimal digits"),
        ('[reward.gold]\nsource = "owner/theirs"\nrevision = "main"\n', "r.toml:5: reward.gold.revision is 'main'; it must be the 40"),
        ('[reward.gold]\nsource = "gold"\nrevision = "main"\n', "r.toml:5: reward.gold.revision is for models of the hub; gold is a folder"),
        ('[reward.gold]\nsource = "gold"\nsteps = 5\nsplit = "gold"\n', "r.toml:5: reward.gold is ready-made (it has a source); it takes no 'steps'"),
        ('[reward.gold]\nbase = { source = "lob" }\n', "there is no model 'lob'; did you mean 'lab'?"),
        ('[reward.gold]\nbase = { source = "lab", hiden = 64 }\n', "lab has no knob 'hiden'; did you mean 'hidden'?"),
        ('[reward.proxy]\nsource = "gold"\n[reward.gold]\nsource = "gold"\n', "r.toml:6: reward.proxy and reward.gold are one and the same model"),
        ('[reward.proxy]\nrule = "total"\n[reward.selection]\nrule = "total"\n', "r.toml:6: reward.proxy and reward.selection are the same rule 'total'"),
        ('[reward.gold]\nsplit = "proxy"\n', "r.toml:4: reward.proxy and reward.gold both train on split 'proxy'; each role needs a model and data of its own, or say reward.allow_shared_reward = true"),
        ('[reward]\nallow_shared_reward = 1\n', "r.toml:4: reward.allow_shared_reward is 1; it must be true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_recipe_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    foreign(tmp_path / "gold")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarnessError, match=re.escape(message)):
        plan_of(tmp_path, text)


def test_sharing_is_allowed_where_the_recipe_says_so(tmp_path: Path) -> None:
    foreign(tmp_path / "gold")
    roles = '[reward.proxy]\nsource = "gold"\n[reward.gold]\nsource = "gold"\n'
    plan = plan_of(tmp_path, "[reward]\nallow_shared_reward = true\n" + roles)
    warned = describe(plan, Store(tmp_path))["warnings"]
    assert any("are one and the same model" in text and text.endswith("as a watermark") for text in warned)
    assert any(text.startswith("what proxy and gold trained on is not known") for text in warned)
    (told,) = plan.recipe.shared_rewards
    assert told.startswith("reward.proxy and reward.gold are one and the same model")
    assert plan_of(tmp_path, "[reward]\nallow_shared_reward = true\n").recipe.shared_rewards == ()


def test_where_a_folder_lies_is_in_no_record_and_no_key(tmp_path: Path) -> None:
    from harness.execute import execute
    from harness.store import Store

    one, store = stage_of(foreign(tmp_path / "theirs")), Store(tmp_path / "results")
    shutil.copytree(tmp_path / "theirs", tmp_path / "elsewhere")
    assert stage_of(tmp_path / "elsewhere").name == one.name
    store.prepare(one)
    assert execute(store.root / one.name).status == "done"
    assert str(tmp_path) not in (store.root / one.name / "record.json").read_text()
    assert store.load(one.name).settings()["path"] == str(tmp_path / "theirs")


def test_a_folder_that_moved_to_a_path_of_the_same_length_is_found(tmp_path: Path) -> None:
    from harness.execute import execute

    store = Store(tmp_path / "results")
    store.prepare(stage_of(foreign(tmp_path / "rm_a")))
    (tmp_path / "rm_a").rename(tmp_path / "rm_b")
    one = stage_of(tmp_path / "rm_b")
    store.prepare(one)
    outcome = execute(store.root / one.name)
    assert (outcome.status, outcome.error) == ("done", "")
