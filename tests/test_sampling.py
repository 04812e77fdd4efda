from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from small import SmallData, small_policy

from harness.inference.rendering import render_prompt
from harness.inference.sampling import Sampled, noise, sample

MAX_NEW = 12


@pytest.fixture(scope="module")
def policy():
    return small_policy()


def prompts_and_noise(tokenizer, samples: int = 5):
    rows = SmallData().rows("prompts", "test")
    prompts = [render_prompt(tokenizer, row["prompt"]) for row in rows for _ in range(samples)]
    uniforms = [noise("replicate-0", row["prompt_id"], k, MAX_NEW) for row in rows for k in range(samples)]
    return prompts, uniforms


def draw(policy, prompts, uniforms, *, temperature: float = 1.0, batch: int = 16) -> list[Sampled]:
    model, tokenizer = policy
    ends = {"end_id": tokenizer.eos_token_id, "pad_id": tokenizer.pad_token_id}
    return sample(model, prompts, uniforms, temperature=temperature, batch=batch, **ends)


def plain_logits(model, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Logits of each response token from one forward pass without cache or padding, (T, V)."""
    with torch.inference_mode():
        return model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()


def test_noise_is_fixed_for_ever():
    assert noise("replicate-0", "some prompt", 0, 3).tolist() == [
        0.5712157541123112,
        0.9098355508084979,
        0.5657745917381198,
    ]


def test_noise_belongs_to_replicate_prompt_k_and_position():
    long, short = noise("r", "p", 0, 50), noise("r", "p", 0, 7)
    assert long[:7].tolist() == short.tolist()
    others = [noise("s", "p", 0, 50), noise("r", "q", 0, 50), noise("r", "p", 1, 50), noise("rp", "", 0, 50)]
    assert all(not np.intersect1d(long, other).size for other in others)


def test_noise_is_uniform():
    drawn = np.concatenate([noise("r", str(i), i % 4, 25) for i in range(400)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_batch_and_order_change_no_sample(policy, temperature):
    prompts, uniforms = prompts_and_noise(policy[1])
    alone = draw(policy, prompts, uniforms, temperature=temperature, batch=1)
    for batch in (7, 64):
        shuffled = np.random.default_rng(batch).permutation(len(prompts))
        drawn = draw(policy, [prompts[i] for i in shuffled], [uniforms[i] for i in shuffled], temperature=temperature,
                     batch=batch)  # fmt: skip
        for place, i in enumerate(shuffled):
            assert drawn[place].token_ids == alone[i].token_ids
            assert drawn[place].end == alone[i].end
            assert drawn[place].logps == pytest.approx(alone[i].logps, abs=1e-4)


def test_samples_differ_between_k_and_seeds(policy):
    prompts, uniforms = prompts_and_noise(policy[1])
    drawn = draw(policy, prompts, uniforms)
    assert len({tuple(response.token_ids) for response in drawn[:5]}) > 1
    other = [noise("replicate-1", str(i), 0, MAX_NEW) for i in range(len(prompts))]
    assert [r.token_ids for r in draw(policy, prompts, other)] != [r.token_ids for r in drawn]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_each_token_is_the_inverse_cumulative_distribution_of_a_plain_forward(policy, temperature):
    prompts, uniforms = prompts_and_noise(policy[1], samples=2)
    for prompt, u, response in zip(prompts, uniforms, draw(policy, prompts, uniforms, temperature=temperature),
                                   strict=True):  # fmt: skip
        shares = torch.softmax(plain_logits(policy[0], prompt, response.token_ids) / temperature, -1).numpy()
        for position, token in enumerate(response.token_ids):
            below = shares[position, :token].sum()
            assert below - 1e-5 <= u[position] < below + shares[position, token] + 1e-5


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.0])
def test_logps_are_those_of_a_plain_forward_at_temperature_one(policy, temperature):
    prompts, uniforms = prompts_and_noise(policy[1], samples=2)
    for prompt, response in zip(prompts, draw(policy, prompts, uniforms, temperature=temperature), strict=True):
        logps = torch.log_softmax(plain_logits(policy[0], prompt, response.token_ids), -1)
        expected = logps[range(len(response.token_ids)), response.token_ids].tolist()
        assert response.logps == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_frequencies_are_the_softmax(policy, temperature):
    model, tokenizer = policy
    prompt = prompts_and_noise(tokenizer)[0][17]
    count = 6000
    drawn = draw(policy, [prompt] * count, [noise("r", str(i), 0, 1) for i in range(count)], temperature=temperature,
                 batch=2000)  # fmt: skip
    expected = torch.softmax(plain_logits(model, prompt, [0])[0] / temperature, -1).numpy() * count
    counts = np.bincount([response.token_ids[0] for response in drawn], minlength=len(expected))
    common = expected >= 5
    assert common.sum() > 5
    assert counts[~common].sum() <= 20
    wanted = expected[common] * counts[common].sum() / expected[common].sum()
    assert chisquare(counts[common], wanted).pvalue > 1e-3


def test_zero_temperature_is_the_likeliest_token_as_generate_finds_it(policy):
    model, tokenizer = policy
    prompts, uniforms = prompts_and_noise(tokenizer, samples=1)
    for prompt, response in zip(prompts, draw(policy, prompts, uniforms, temperature=0.0), strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=MAX_NEW)
        assert response.token_ids == whole[0, len(prompt) :].tolist()


def test_a_response_ends_with_its_end_token_or_at_the_limit(policy):
    end = policy[1].eos_token_id
    drawn = draw(policy, *prompts_and_noise(policy[1], samples=20))
    for response in drawn:
        assert len(response.logps) == len(response.token_ids) <= MAX_NEW
        assert end not in response.token_ids[:-1]
        assert (response.end == "eos") == (response.token_ids[-1] == end)
        assert response.end == "eos" or len(response.token_ids) == MAX_NEW
    assert {response.end for response in drawn} == {"eos", "length"}


def test_what_has_ended_is_not_computed_further(policy):
    model, tokenizer = policy
    prompts, uniforms = prompts_and_noise(tokenizer, samples=20)
    tokens = [token for r in draw(policy, prompts, uniforms, temperature=0.3) for token in r.token_ids]
    often = Counter(tokens).most_common(1)[0][0]  # as the end token, so that most responses are short
    fed: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, __, given: fed.append(len(given["input_ids"])), with_kwargs=True)
    drawn = sample(model, prompts, uniforms, end_id=often, pad_id=0, temperature=0.3, batch=len(prompts))
    hook.remove()
    needed = sum(len(response.token_ids) - 1 for response in drawn)
    assert needed < 0.5 * len(prompts) * (MAX_NEW - 1)
    assert fed[0] == 12  # samples of one prompt share the forward pass of the prompt
    assert needed <= sum(fed[1:]) <= needed / 0.75


def test_a_token_without_probability_is_never_drawn(policy):
    prompts, _ = prompts_and_noise(policy[1])
    lowest = [np.zeros(MAX_NEW)] * len(prompts)
    highest = [np.full(MAX_NEW, np.nextafter(1.0, 0.0))] * len(prompts)
    likeliest = [response.token_ids for response in draw(policy, prompts, lowest, temperature=0.0)]
    for uniforms in (lowest, highest):  # so cold that all but the likeliest token have probability 0
        assert [response.token_ids for response in draw(policy, prompts, uniforms, temperature=1e-6)] == likeliest


def test_probabilities_that_are_not_finite_are_an_error():
    model, tokenizer = small_policy()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="token 1"):
        draw((model, tokenizer), *prompts_and_noise(tokenizer))


def test_no_prompts_give_no_responses(policy):
    assert draw(policy, [], []) == []
