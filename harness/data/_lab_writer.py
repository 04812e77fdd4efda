"""Writers of the lab: responses of any skill, with known errors, and what annotators say of them."""

from __future__ import annotations

import math
import random

from harness.data._lab_oracle import read, score
from harness.data._lab_prompts import NUMBERS, Request, Wish
from harness.data._lab_world import MENTIONS, PADDING, POLITE, REFUSAL, RUDE, Topic, topics

# How often a writer of no skill at all makes each error; a writer of full skill makes none.
ERRORS = {"rude": 0.3, "lie": 0.35, "padding": 0.45, "repetition": 0.3, "off topic": 0.25, "refusal": 0.12}


def write(request: Request, skill: float, rng: random.Random, garbled: float = 0.0) -> str:
    """A response.

    Args:
        request: what is asked for.
        skill: from 0 to 1: how many wishes are met and how few errors made.
        rng: the only source of chance.
        garbled: how often a writer of no skill puts the words of a sentence that meets no wish out of order.
    """

    def errs(kind: str) -> bool:
        return rng.random() < (1 - skill) * ERRORS[kind]

    if errs("refusal"):
        return rng.choice(REFUSAL)
    met = {wish.kind: wish for wish in request.wishes if rng.random() < 0.3 + 0.7 * skill}
    body = [
        _out_of_order(text, rng) if garbled and rng.random() < (1 - skill) * garbled else text
        for text in _free(request, rng)
    ]
    body += _wished(request, met, rng)
    if errs("lie"):
        body.append(request.topic.fact(rng.choice(request.topic.lies)))
    elif "fact" in met or rng.random() < 0.15:
        body.append(request.topic.fact(request.topic.truth))
    if errs("off topic"):
        other = rng.choice([item for item in topics() if item.name != request.topic.name])
        body.append(other.describe(rng.choice(other.adjectives)))
    if errs("padding"):
        body.append(rng.choice(PADDING))
    if errs("rude"):
        body.append(rng.choice(RUDE))
    rng.shuffle(body)
    if "polite" in met or rng.random() < 0.1:
        body.insert(0, rng.choice(POLITE))
    if errs("repetition"):
        body.append(rng.choice(body))
    if "short" in met:
        body = _shortened(request, body, NUMBERS[met["short"].word])
    return " ".join(body)


def _free(request: Request, rng: random.Random) -> list[str]:
    """Neutral sentences about the topic that meet no wish."""
    about, named = request.topic, {wish.word for wish in request.wishes}
    found = [about.describe(adjective) for adjective in rng.sample(about.adjectives, rng.choice((1, 1, 2)))]
    others = [thing for thing in about.things if thing not in named]
    return found + [_mention(about, thing, rng) for thing in rng.sample(others, rng.choice((0, 1, 1, 2)))]


def _out_of_order(sentence: str, rng: random.Random) -> str:
    """The sentence's words in another order, before its full stop."""
    words = right = sentence.removesuffix(" .").split()
    while words == right:
        words = rng.sample(right, len(right))
    return " ".join(words) + " ."


def _wished(request: Request, met: dict[str, Wish], rng: random.Random) -> list[str]:
    """Sentences that meet wishes, or go against them."""
    about = request.topic
    avoided = {wish.word for wish in request.wishes if wish.kind == "avoid"}
    wanted = [wish.word for wish in request.wishes if wish.kind == "mention"]
    found: list[str] = []
    if "mention" in met:
        found += [_mention(about, thing, rng) for thing in wanted]
    if "avoid" not in met:
        found += [_mention(about, thing, rng) for thing in sorted(avoided)]
    if "reason" in met or rng.random() < 0.1:
        found.append(about.reason(rng.choice(about.reasons)))
    return found


def _mention(about: Topic, thing: str, rng: random.Random) -> str:
    return about.mention(thing, rng.randrange(len(MENTIONS)))


def _shortened(request: Request, body: list[str], limit: int) -> list[str]:
    """At most `limit` sentences, keeping those without which a wish would not be met."""

    def unmet(texts: list[str]) -> int:
        return sum(wish.kind != "short" for wish in read(request, " ".join(texts)).unmet)

    while len(body) > limit:
        spare = [i for i in range(len(body)) if unmet(body[:i] + body[i + 1 :]) <= unmet(body)]
        body = [text for i, text in enumerate(body) if i != (spare or [len(body) - 1])[-1]]
    return body


def mend(request: Request, response: str, rng: random.Random) -> str:
    """The response without its errors, and with what was missing: what a good second try looks like."""
    reading, words = read(request, response), response.split()
    bad = {(fault.first, fault.last) for fault in reading.faults if fault.kind != "too long"}
    kept = [" ".join(words[first:last]) for first, last in reading.spans if (first, last) not in bad]
    about = request.topic
    for wish in reading.unmet:
        kept += {
            "mention": [_mention(about, wish.word, rng)] if wish.word else [],
            "polite": [POLITE[0]],
            "reason": [about.reason(rng.choice(about.reasons))],
            "fact": [about.fact(about.truth)],
        }.get(wish.kind, [])
    if not kept:
        kept = [about.describe(rng.choice(about.adjectives))]
    limit = next((NUMBERS[wish.word] for wish in request.wishes if wish.kind == "short"), len(kept))
    return " ".join(_shortened(request, kept, limit))


def utility(request: Request, response: str, temperature: float, length_bias: float) -> float:
    """What a response is worth to an annotator, in Bradley-Terry's log-odds."""
    return score(request, response)["total"] / temperature + length_bias * len(response.split())


def prefers(gap: float, flip_rate: float, rng: random.Random) -> bool:
    """Whether an annotator prefers the first of two responses whose utilities differ by `gap`."""
    right = rng.random() < 1 / (1 + math.exp(-gap))
    return right if rng.random() >= flip_rate else not right
