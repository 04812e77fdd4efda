from __future__ import annotations

import random

import pytest
import torch
from small import WORDS, SmallData, save_small_policy, save_small_reward, small_policy
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from harness.errors import HarnessError
from harness.inference.rendering import render_prompt, render_response
from harness.inference.scoring import divergence, score, sequence_logp


@pytest.fixture(scope="module")
def policy():
    return small_policy(0)


@pytest.fixture(scope="module")
def start():
    return small_policy(1)[0]


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    return save_small_reward(tmp_path_factory.mktemp("gold")) / "reward"


def texts():
    """(prompt, response) of many lengths, an empty response among them."""
    drawn = random.Random(0)
    prompts = [row["prompt"] for row in SmallData().rows("prompts", "test")]
    return [(prompt, " ".join(drawn.choices(WORDS, k=n))) for n, prompt in enumerate(prompts)]


def token_ids(tokenizer):
    return [(render_prompt(tokenizer, prompt), render_response(tokenizer, response)) for prompt, response in texts()]


def distributions(model, prompt: list[int], response: list[int]) -> torch.Tensor:
    """log π of every token of the vocabulary at each response position, one sequence at a time, float64 (T, V)."""
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.double(), -1)


def test_sequence_logp_is_the_sum_over_response_tokens(policy):
    model, tokenizer = policy
    sequences = token_ids(tokenizer)
    expected = [
        distributions(model, prompt, response)[range(len(response)), response].sum().item()
        for prompt, response in sequences
    ]
    for batch in (1, 5, 64):
        assert sequence_logp(model, sequences, tokenizer.pad_token_id, batch) == pytest.approx(expected, abs=1e-4)


def test_divergence_is_the_sum_over_the_vocabulary_by_hand(policy, start):
    model, tokenizer = policy
    sequences = token_ids(tokenizer)
    kls, entropies = [], []
    for prompt, response in sequences:
        own, other = distributions(model, prompt, response), distributions(start, prompt, response)
        kls.append((own.exp() * (own - other)).sum().item())
        entropies.append(-(own.exp() * own).sum().item())
    for batch in (1, 5, 64):
        kl, entropy = divergence(model, start, sequences, tokenizer.pad_token_id, batch)
        assert kl == pytest.approx(kls, rel=1e-4)
        assert entropy == pytest.approx(entropies, rel=1e-4)
    assert min(kls) > 0.1


def test_divergence_over_own_samples_has_the_kl_of_whole_responses_as_its_mean(policy, start):
    """Exact: every response of at most two tokens, weighted with its probability."""
    model, tokenizer = policy
    prompt, end = render_prompt(tokenizer, SmallData().rows("prompts", "test")[3]["prompt"]), tokenizer.eos_token_id
    tokens = range(len(tokenizer))
    responses = [[end]] + [[first, second] for first in tokens if first != end for second in tokens]
    sequences = [(prompt, response) for response in responses]
    kl, _ = divergence(model, start, sequences, tokenizer.pad_token_id, 512)
    own = torch.tensor(sequence_logp(model, sequences, tokenizer.pad_token_id, 512)).double()
    other = torch.tensor(sequence_logp(start, sequences, tokenizer.pad_token_id, 512)).double()
    assert own.exp().sum().item() == pytest.approx(1, abs=1e-5)
    exact = (own.exp() * (own - other)).sum().item()
    assert (own.exp() * torch.tensor(kl)).sum().item() == pytest.approx(exact, rel=1e-4)


def test_divergence_from_itself_is_exactly_zero(policy):
    model, tokenizer = policy
    kl, entropy = divergence(model, model, token_ids(tokenizer), tokenizer.pad_token_id, 4)
    assert kl == [0.0] * len(kl)
    assert min(entropy) > 0


def test_divergence_from_nearly_the_same_model_is_never_negative(policy):
    model, tokenizer = policy
    near = small_policy(0)[0]
    with torch.no_grad():
        near.model.norm.weight.mul_(1 + 3e-7)
    kl, _ = divergence(model, near, token_ids(tokenizer) * 5, tokenizer.pad_token_id, 4)
    assert all(0 <= value < 1e-4 for value in kl)
    assert sum(kl) > 0


def test_a_reward_score_is_the_head_at_the_end_token(gold, policy):
    model = AutoModelForSequenceClassification.from_pretrained(gold, dtype=torch.float32)
    expected = []
    for prompt, response in token_ids(policy[1]):
        with torch.inference_mode():
            hidden = model.base_model(torch.tensor([prompt + response])).last_hidden_state
            expected.append(model.score(hidden[0, -1]).item())
    assert score(gold, texts(), 1) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("batch", [5, 64])
def test_padding_and_order_change_no_score(gold, batch):
    alone = score(gold, texts(), 1)
    order = random.Random(batch).sample(range(12), 12)
    assert score(gold, [texts()[i] for i in order], batch) == pytest.approx([alone[i] for i in order], abs=1e-4)


def test_an_empty_response_has_a_score_of_its_own(gold):
    prompt = texts()[0][0]
    empty, other = score(gold, [(prompt, ""), (prompt, "w1")], 2)
    assert empty == pytest.approx(score(gold, [(prompt, "")], 1)[0], abs=1e-4)
    assert abs(empty - other) > 1e-3


def test_each_distinct_response_is_scored_once(gold, monkeypatch):
    fed: list[int] = []
    forward = LlamaForSequenceClassification.forward

    def counted(self, **given):
        fed.append(given["input_ids"].shape[0])
        return forward(self, **given)

    monkeypatch.setattr(LlamaForSequenceClassification, "forward", counted)
    prompt, other = texts()[3][0], texts()[4][0]
    scores = score(gold, [(prompt, "w1"), (prompt, "w2"), (prompt, "w1"), (list(prompt), "w1"), (other, "w1")], 8)
    assert sum(fed) == 3
    assert scores[0] == scores[2] == scores[3]
    assert len({scores[0], scores[1], scores[4]}) == 3


def test_nothing_to_score(gold):
    assert score(gold, [], 8) == []


def test_a_text_that_is_too_long_is_an_error_and_not_cut(gold):
    prompt = texts()[0][0]
    with pytest.raises(HarnessError, match=r"reads 512 tokens; 1 of 2 prompts .* longest 6\d\d"):
        score(gold, [(prompt, "w1"), (prompt, " ".join(["w1"] * 600))], 8)


def test_a_head_of_two_numbers_is_no_reward_model(tmp_path):
    with pytest.raises(HarnessError, match="its head gives 2 numbers"):
        score(save_small_reward(tmp_path, labels=2) / "reward", texts(), 8)


def test_a_policy_is_no_reward_model(tmp_path):
    with pytest.raises(HarnessError, match="is no reward model: it is a LlamaForCausalLM"):
        score(save_small_policy(tmp_path) / "policy", texts(), 8)
