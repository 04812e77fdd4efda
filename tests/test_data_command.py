"""`harness data`: what it says is what the files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError


@pytest.fixture
def recipe(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pairs and a bad one, to be read by the tiny model."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    rows = [{"prompt": f"bak {word}", "chosen": f"{word} dol", "rejected": "fim", "id": 1} for word in tiny.WORDS[:12]]
    rows[3]["chosen"] = " ".join(["bak"] * 70)
    rows += [{"prompt": "bak", "chosen": "x", "rejected": "x"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = shelf / tiny.START / "policy"
    path = tmp_path / "r.toml"
    path.write_text(
        f'name = "x"\n[[model]]\nsource = "{model}"\n[[dataset]]\nsource = "files"\npairs = "p.jsonl"\n'
        'binary = "from pairs"\non_bad = "drop"\nsplits = {train = 1.0}\n[[start]]\nname = "sft_chosen"\n'
        '[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "kto"\n[[algorithm]]\nname = "cut"\n'
    )
    return path


def test_it_counts_and_shows(recipe: Path) -> None:
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert found["rows"] == {"binary train": 24, "pairs train": 12, "prompts train": 12}
    assert found["bad_rows"] == ["p.jsonl, line 13: chosen and rejected are equal"]
    assert found["columns"] == {"pairs": {"read": {n: n for n in ("prompt", "chosen", "rejected")}, "left": ["id"]}}
    assert found["conversions"] == {"binary from pairs": 24}
    assert found["overlap"] == {}
    assert found["near"] == {"prompts": 0, "groups": 0}
    own = found["contestants"]
    assert own["dpo"] == {"view": "pairs", "rows": 11, "prompts": 11, "too_long": 1}
    assert own["kto"] == {"view": "binary", "rows": 22, "prompts": 11, "too_long": 2}
    assert own["cut"]["reason"] == "cut needs judgments; dataset 'files' has binary, pairs, prompts"
    assert found["tokens"]["train pairs: response"]["longest"] == 71  # seventy words and the end token
    assert len(found["examples"]["pairs"]) == 3


def test_prompts_to_answer_have_their_lengths_told(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("train = 1.0", "train = 0.5, test = 0.5"))
    long = " ".join(tiny.WORDS[:20])
    file = recipe.parent / "p.jsonl"
    more = [{"prompt": f"{long} {end}", "chosen": "dol", "rejected": "fim"} for end in tiny.WORDS[:9]]
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in more))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["tokens"]
    assert found["test prompts"]["longest"] > 20
    assert "\ntest prompts " in CliRunner().invoke(app, ["data", str(recipe)]).stdout


def test_near_duplicates_are_counted(recipe: Path) -> None:
    long = " ".join(f"{one} {other}" for one in tiny.WORDS[:6] for other in tiny.WORDS[6:12])
    file = recipe.parent / "p.jsonl"
    near = [{"prompt": f"{long} {end}", "chosen": "dol", "rejected": "fim"} for end in tiny.WORDS[:3]]
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in near))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert found["near"] == {"prompts": 3, "groups": 1}
    assert "  3 in 1 group\n" in CliRunner().invoke(app, ["data", str(recipe)]).stdout


def test_what_trains_nothing_is_given_nothing(recipe: Path) -> None:
    text = recipe.read_text().replace('name = "kto"', 'name = "best_of_n"').replace('name = "cut"', 'name = "base"')
    recipe.write_text(text)
    own = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["contestants"]
    assert own["best_of_n"] == own["base"] == {"reason": "nothing is trained"}
    assert own["dpo"]["rows"] == 11


def test_the_marks_hold_what_is_trained_on(recipe: Path) -> None:
    said = CliRunner().invoke(app, ["data", str(recipe)]).stdout
    assert "<assistant>⟦fim </s>⟧" in said.replace("<assistant> ⟦", "<assistant>⟦")
    assert "Bad rows, 1:" in said
    assert "  pairs: prompt, chosen, rejected; not read: id\n" in said


def test_data_is_shown_where_no_algorithm_can_use_it(recipe: Path) -> None:
    text = recipe.read_text().replace('binary = "from pairs"\n', 'binary = "from pairs"\njudgments = "from binary"\n')
    text = text.replace('name = "dpo"', 'name = "forward_prediction"').replace('name = "kto"', 'name = "sft"')
    recipe.write_text(text.replace('name = "sft_chosen"', 'name = "sft"').replace('[[algorithm]]\nname = "cut"\n', ""))
    done = CliRunner().invoke(app, ["data", str(recipe)])
    assert done.exit_code == 0, done.exception
    assert "sft: sft needs demonstrations; dataset 'files' has binary, judgments, pairs, prompts" in done.stdout
    assert "judgment: This response is not satisfactory., said by a template]" in done.stdout


def test_bad_rows_refuse_where_the_recipe_says_nothing(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace('on_bad = "drop"\n', ""))
    done = CliRunner().invoke(app, ["data", str(recipe)])
    assert isinstance(done.exception, HarnessError)
    assert "line 13" in str(done.exception)
