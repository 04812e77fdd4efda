"""One rendering of prompts and responses, for training, sampling, scoring and judging alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from harness import keys
from harness.data._forms import short
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from harness.data import Message, Row

CLOCK = "strftime_now"
"""What a template calls to know the time; transformers gives it to every one."""
REMEDY = "give the model template = 'chatml', 'plain' or your own"


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: list[Message]) -> list[int]:
    """Token ids of a prompt, up to and including what opens the assistant's turn.

    Raises:
        HarnessError: there is no template, or it refuses the prompt, as some do a system turn, or has a mistake.
    """
    return _written(tokenizer, prompt, True)


def _written(tokenizer: PreTrainedTokenizerBase, turns: list[Message], opened: bool) -> list[int]:
    """Token ids of a conversation, with what opens the assistant's next turn where `opened`."""
    from jinja2 import TemplateError

    check_has_template(tokenizer)
    try:
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=opened, tokenize=True, return_dict=False)
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise HarnessError(f"the chat template cannot write a conversation of turns by {roles}: {error}") from error
    return cast(list[int], ids)


def check_has_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that there is a chat template.

    Raises:
        HarnessError: there is none.
    """
    if tokenizer.chat_template is None:
        raise HarnessError(f"the tokenizer has no chat template; a policy cannot be asked without one: {REMEDY}")


def render_response(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Token ids of a response and of the end token that closes it.

    The response is tokenised alone and appended to the prompt, so it has the same tokens behind every prompt.
    """
    return [*tokenizer(response, add_special_tokens=False)["input_ids"], end_token(tokenizer)]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that closes a response."""
    if tokenizer.eos_token_id is None:
        raise HarnessError("the tokenizer has no end-of-sequence token, so no response could ever end")
    return cast(int, tokenizer.eos_token_id)


def prompt_hash(ids: list[int]) -> str:
    """The name of a rendered prompt: training and evaluation can be shown to have used the same."""
    return keys.key(ids)


def check_templates(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """Check the chat template on a prompt of each mix of roles among rows.

    Raises:
        HarnessError: it cannot be trusted, see `check_template`.
    """
    mixes = {frozenset(turn["role"] for turn in row["prompt"]): row["prompt"] for row in reversed(rows)}
    for prompt in mixes.values():
        check_template(tokenizer, prompt)


def check_template(tokenizer: PreTrainedTokenizerBase, prompt: list[Message]) -> None:
    """Check on one prompt that the chat template can be trusted.

    Raises:
        HarnessError: no template, or one that reads the clock; no padding token, or one that is the end token; a
            doubled begin token; a prompt that is not a prefix of prompt + response; a turn that the end token does not
            close; a response that is trained on as another text than the template's; a turn that is left out.
    """
    check_has_template(tokenizer)
    if CLOCK in str(tokenizer.chat_template):
        raise HarnessError(
            f"the chat template reads the clock ({CLOCK}): the same prompt would have other tokens on another day, so "
            f"no run could be made again; {REMEDY}: for example a copy of its own with a fixed date for {CLOCK}(...)"
        )
    if tokenizer.pad_token_id is None:
        raise HarnessError("the tokenizer has no padding token")
    if tokenizer.pad_token_id == end_token(tokenizer):
        raise HarnessError("the tokenizer pads with its end token; how a response ends could not be told from padding")
    opened = render_prompt(tokenizer, prompt)
    if tokenizer.bos_token_id is not None and opened[:2] == [tokenizer.bos_token_id] * 2:
        raise HarnessError("the chat template and the tokenizer both write the begin token: it stands there twice")
    whole = _written(tokenizer, [*prompt, {"role": "assistant", "content": "yes"}], False)
    if whole[: len(opened)] != opened:
        raise HarnessError(
            "the chat template is not prefix-consistent: prompt + response does not begin with the prompt as it is "
            f"sampled from ({tokenizer.decode(opened)!r} against {tokenizer.decode(whole)!r}); {REMEDY}"
        )
    _check_response(tokenizer, opened, whole[len(opened) :])
    _check_turns(tokenizer, prompt)


def _check_response(tokenizer: PreTrainedTokenizerBase, opened: list[int], theirs: list[int]) -> None:
    """What a template writes behind the opened prompt begins with what is trained on there."""
    end, ours = end_token(tokenizer), render_response(tokenizer, "yes")
    if end not in theirs:
        raise HarnessError(
            f"the chat template closes a turn without the end token {tokenizer.eos_token!r}, so a policy would not "
            f"learn to stop as it is sampled ({tokenizer.decode(theirs)!r}); {REMEDY}"
        )
    if theirs[: len(ours)] != ours:
        prompt = tokenizer.decode(opened)
        said = [tokenizer.decode(opened + ids).removeprefix(prompt) for ids in (theirs[: theirs.index(end) + 1], ours)]
        raise HarnessError(
            f"behind {prompt[-20:]!r} the chat template writes the response 'yes' as {said[0]!r}, but {said[1]!r} "
            f"would be trained on: nothing may stand between what opens the assistant's turn and the response, nor "
            f"between it and the end token; {REMEDY}"
        )


def _check_turns(tokenizer: PreTrainedTokenizerBase, prompt: list[Message]) -> None:
    """No turn of the system or the user is left out; of the assistant's, some templates leave out its thoughts."""
    text = str(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False))
    for turn in prompt:
        if turn["role"] != "assistant" and turn["content"].strip() not in text:
            said = f"{short(turn['content'])}: it writes {text!r}"
            raise HarnessError(f"the chat template leaves out the {turn['role']}'s turn {said}; {REMEDY}")
