"""A chat model behind an OpenAI-compatible endpoint as a judge."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, NetworkError
from harness.judges import Asking, Judge, Question
from harness.knobs import Between, knob

if TYPE_CHECKING:
    import requests

    from harness.data import Dataset

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""States in which a server asks to be asked again."""
LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Endpoint(Judge):
    """Any server that speaks `POST <url>/chat/completions`: vLLM, llama.cpp, Ollama, a provider.

    The address and the model's name are in the key; what is served under them is the server's word.
    """

    url: str = knob("", doc="where the API begins, for example http://localhost:8000/v1")
    model: str = knob("", doc="the model's name there")
    temperature: float = knob(0.0, valid=Between(low=0), doc="sampling temperature")
    max_tokens: int = knob(512, valid=Between(low=1), doc="tokens of an answer")

    def ask(
        self, questions: list[Question], dataset: Dataset, asking: Asking, note: Callable[[Question, str], None]
    ) -> None:
        """Send questions in parallel; answers that have come stay, whatever happens to the others."""
        post = _Post(self, asking)
        lost: Exception | None = None
        with ThreadPoolExecutor(asking.parallel) as pool:
            sent = {pool.submit(post.answer, question.text): question for question in questions}
            for done in as_completed(sent):
                if done.cancelled():
                    continue
                error = done.exception()
                if error is None:
                    note(sent[done], done.result())
                elif not isinstance(error, Exception):
                    raise error
                elif lost is None:
                    lost = error
                    post.stopped = True
                    for other in sent:
                        other.cancel()
        if lost is not None:
            raise lost


class _Post:
    """Requests to one endpoint. The key is read here, and taken out of every text that could be shown."""

    def __init__(self, judge: Endpoint, asking: Asking) -> None:
        self.judge, self.asking, self.stopped = judge, asking, False
        self.key = os.environ.get(asking.api_key_env, "") if asking.api_key_env else ""
        if asking.api_key_env and not self.key:
            raise HarnessError(f"the environment variable {asking.api_key_env}, named by judge.api_key_env, is not set")

    def answer(self, text: str) -> str:
        """The answer to one question; what a network or a busy server loses is sent again, waiting longer each time."""
        wait, trouble = self.asking.backoff_seconds, ""
        for attempt in range(self.asking.retries + 1):
            if attempt and not self.stopped:
                time.sleep(min(wait, LONGEST_WAIT_SECONDS))
                wait *= 2
            if self.stopped:
                break
            found, trouble, told = self._once(text)
            if found is not None:
                return found
            wait = max(wait, told)
        raise NetworkError(
            f"{self.judge.url} gave no answer in {self.asking.retries + 1} attempt(s); the last: {trouble or 'stopped'}"
        )

    def _once(self, text: str) -> tuple[str | None, str, float]:
        """An answer, or what went wrong and how many seconds the server asks to wait.

        Raises:
            HarnessError: the server refuses, and would again.
        """
        import requests

        body = {
            "model": self.judge.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": self.judge.temperature,
            "max_tokens": self.judge.max_tokens,
        }
        try:
            reply = requests.post(
                f"{self.judge.url.rstrip('/')}/chat/completions", json=body, auth=self._sign,
                timeout=self.asking.timeout_seconds, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            return None, self._public(f"{type(error).__name__}: {error}"), 0.0
        shown = f"HTTP {reply.status_code}: {self._public(reply.text[:300])}"
        if reply.status_code in AGAIN:
            return None, shown, _seconds(reply.headers.get("Retry-After", ""))
        if reply.status_code != 200:
            raise HarnessError(f"{self.judge.url} refuses judge.model '{self.judge.model}': {shown}")
        found = _content(reply)
        return (found, "", 0.0) if found is not None else (None, f"no chat completion: {shown}", 0.0)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the key; also where there is none, so that no other secret of this machine is sent in its place."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def _public(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


def _content(reply: requests.Response) -> str | None:
    """The text of a chat completion; None where the reply is none."""
    try:
        body: Any = reply.json()
        found = body["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isdigit() else 0.0
