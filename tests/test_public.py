"""What leaves this machine holds none of its folders and no secret, and says all else as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from bricks import PLUGINS, brick
from test_cli import inside

from harness.execute import execute
from harness.public import public
from harness.store import LOG, Store

TOKEN = "hf_" + "aaaabbbbccccddddeeeeffff"
SAME = (
    "https://huggingface.co/owner/name/resolve/main/config.json",
    "http://127.0.0.1:8000/v1/chat/completions: HTTP 500",
    "a/b/c, 1/2, and/or, <think></think>, r'\\d+/x', n/a",
    "curl -H 'Authorization: Bearer $TOKEN' -H \"X-API-Key: `cat key`\"; Bearer authentication failed",
    "loss_per_token: 2.34e-05, {'kl_per_token': 1.2345e-05} and unexpected token=1234567e8",
    'no token: HuggingFaceTB/SmolLM2-135M is gated; "eos_token": "gpt2-eos-token"',
    "https://web.archive.org/web/2020/https://x.org/a, https://x.edu/~bob/a/b and https://gitlab.com/root/project",
    "load(token=token, use_auth_token=None, eos_token='<|im_end|>'), sort(key=len), HF_TOKEN: not set",
    "train at 3e-4, hf_hub and sk-learn, results/published/one/recipe.toml",
)
CHANGED = {
    "/mnt/My Drive/alice/private/x.jsonl": "x.jsonl",
    "'/mnt/my own drive/alice/x.jsonl' is empty": "'x.jsonl' is empty",
    "/scratch/alice/x.jsonl": "x.jsonl",
    "/alice/x": "x",
    "/scratch//alice/": "alice",
    "~/secret/x.jsonl, ~bob/x.jsonl": "x.jsonl, x.jsonl",
    "/home/алиса/x.jsonl": "x.jsonl",
    "file:///home/alice/x and sqlite:////home/alice/x.db": "file:x and sqlite:x.db",
    "PATH=/opt/alice/bin:/scratch/alice/bin cc -I/opt/alice/include": "PATH=bin:bin cc -Iinclude",
    r"'a\n/home/alice/x'": r"'a\nx'",
    "in /data/x.jsonl and a/b/c": "in x.jsonl and a/b/c",
    "/x/results/train-0123456789abcdef/policy/w": "train-0123456789abcdef/policy/w",
    "proxy http://user:pw@proxy.org:80/x": "proxy http://***@proxy.org:80/x",
    "AKIAABCDEFGHIJKLMNOP github_pat_11ABCDEFG0123456789_abcd": "*** ***",
    "glpat-0123456789abcdefghij": "***",
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9m": "Bearer ***",
    "export DB_PWD=hunter2hunter AWS_KEY_ID='x1y2z3x1y2z3'": "export DB_PWD=*** AWS_KEY_ID='***'",
    "curl -H 'Authorization: Bearer abc123def456' x": "curl -H 'Authorization: Bearer ***' x",
    "{'authorization': 'Basic dXNlcjpwYXNz'}": "{'authorization': 'Basic ***'}",
    "x-api-key: 0123abcd": "x-api-key: ***",
    "https://hf.co//home/bob/secret/m": "https://hf.co//m",
    "at 'https://hf.co/api/models//scratch/bob/secret/m?x=1'.": "at 'https://hf.co/api/models//m?x=1'.",
    "https://hf.co/%2Fscratch%2Fbob%2Fsecret%2Fm/config.json": "https://hf.co//config.json",
    "http://a.org//x/results/train-0123456789abcdef/w": "http://a.org//train-0123456789abcdef/w",
    "token=abcd1234efgh": "token=***",
    "https://a.org/x?token=abcd1234efgh&page=2": "https://a.org/x?token=***&page=2",
    "HF_TOKEN: abcd1234ef, HF_TOKEN: hf_abcdefgh": "HF_TOKEN: ***, HF_TOKEN: ***",
    '{"api_key": "abcd1234efgh", "password": "12ab34cd"}': '{"api_key": "***", "password": "***"}',
}


@pytest.mark.parametrize("text", SAME)
def test_what_is_public_stays_as_it_is(text: str) -> None:
    assert public(text) == text


@pytest.mark.parametrize(("text", "shown"), CHANGED.items())
def test_folders_and_secrets_go(text: str, shown: str) -> None:
    assert public(text) == shown
    assert public(shown) == shown


@pytest.mark.parametrize("name", ["DB_PWD", "PGPASS", "CREDENTIALS", "AWS_ACCESS_KEY_ID", "SOME_SERVICE_TOKEN"])
def test_values_of_secret_variables_go(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "correct-horse-battery")
    assert public("refused: correct-horse-battery") == "refused: ***"


def test_known_folders_go_by_their_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, data, work = (tmp_path / name for name in ("own home/alice", "our, data", "work"))
    for name, folder in {"HOME": home, "HARNESS_DATA": data}.items():
        monkeypatch.setenv(name, str(folder))
    work.mkdir()
    monkeypatch.chdir(work)
    text = f"{home}/secret/x.jsonl {home} {data}/set/x.jsonl {work}/recipes/x.toml {work} {work}side/y"
    assert public(text) == "x.jsonl ~ set/x.jsonl recipes/x.toml . y"
    encoded = str(home).replace(" ", "%20")
    urls = f"https://a.org{encoded}/secret/x https://a.org//{encoded}/secret/x https://a.org?at={quote(str(home), '')}"
    assert public(urls) == "https://a.org//x https://a.org//x https://a.org?at=/"
    assert public(f"https://a.org/{data}/set/x.jsonl https://a.org/{work}/recipes/x.toml") == (
        "https://a.org/set/x.jsonl https://a.org/recipes/x.toml"
    )
    elsewhere = f"https://a.org/acme{work}/README.md"
    assert public(elsewhere) == elsewhere, "a folder of that name is another one's"
    assert public(f'File "{Path(public.__code__.co_filename)}", line 3') == 'File "harness/public.py", line 3'


@pytest.mark.parametrize("part", ["a", "/", "a.a+", "-eyJ", "KEY=", "/a b c", "token=", "https://a//"])
def test_a_line_of_a_million_letters_is_read_in_one_go(part: str) -> None:
    """A pattern that went back to the beginning for each letter would not end within the suite's limit."""
    assert len(public(part * (1_000_000 // len(part)))) <= 1_000_000


def compared(source: str, more: str = "") -> str:
    """A recipe on a file of pairs."""
    return (
        f'name = "r"{more}\n[[model]]\nsource = "nobody/nothing"\n[[dataset]]\nsource = "{source}"\n'
        'splits = {train = 0.5, test = 0.5}\n[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n'
    )


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of pairs that nobody else has."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "alice" / "secretproj"
    folder.mkdir(parents=True)
    rows = [{"prompt": f"Why is it {i}?", "chosen": f"{i} a", "rejected": f"{i} b"} for i in range(9)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_a_report_shows_no_folder_and_no_secret_of_a_recipe(work: Path, secret: Path) -> None:
    text = compared(f"{secret}/mine.jsonl", f"  # key {TOKEN}")
    (work / "r.toml").write_text(text)
    words = ("--set", f'question="{TOKEN} in {secret}/x?"')
    done = inside("report", "r.toml", *words, cwd=work)
    assert done.exit_code == 0, done.output
    for name in ("report.md", "report.html"):
        (shown,) = (work / "reports").rglob(name)
        assert TOKEN not in shown.read_text()
        assert "secretproj" not in shown.read_text()
        assert "mine.jsonl" in shown.read_text()


def test_a_recipe_is_published_without_folders_or_not_at_all(work: Path, secret: Path) -> None:
    (work / "r.toml").write_text(compared(f"{secret}/mine.jsonl", f"  # key {TOKEN}"))
    refused = inside("publish", "r.toml", "--unfinished", cwd=work)
    told = str(refused.exception)
    assert told.startswith("r.toml:1: what only this machine has would be published (lines 1, 5); name files")
    assert TOKEN not in told
    assert not (work / "results" / "published").exists()
    shutil.copy(secret / "mine.jsonl", work)
    done = inside("publish", "r.toml", "--unfinished", cwd=work)
    assert done.exit_code == 0, done.output
    published = (work / "results" / "published" / "r" / "recipe.toml").read_text()
    assert published == compared("mine.jsonl", "  # key ***")


def test_a_command_with_a_secret_is_recorded_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.provenance import made_by

    monkeypatch.setattr("sys.argv", ["/opt/alice/bin/harness", "run", "r.toml", "--set", f"x={TOKEN}"])
    assert made_by.__wrapped__()["command"] == "harness run r.toml --set x=***"


def test_a_log_of_a_killed_attempt_is_cleaned_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)
    stage = brick("a")
    folder = Store(tmp_path).prepare(stage)
    (folder / LOG).write_text(f"asking with {TOKEN}\n")
    seen = []
    assert execute(folder, on_begin=lambda: seen.append((folder / LOG).read_text())).status == "done"
    assert "asking with ***" in seen[0]
