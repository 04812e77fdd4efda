"""Families, Holm, the four words, the top set and what would help."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from worlds import World

from harness.stats.contrast import Undecidable
from harness.stats.runs import Runs
from harness.stats.verdicts import holm, top_set, verdicts


def scores(means, study=0, runs=5, prompts=100, **world):
    names = ["start", *"abcdefghi"][: len(means)]
    y = World(**world).studies(np.random.default_rng(study), len(means), 1, runs, prompts)
    return {name: own[0] + mean for name, own, mean in zip(names, y, means, strict=True)}


QUIET = {"seed": 0.02, "cross": 0.02, "cell": 0.2}


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_statsmodels(seed):
    p = np.random.default_rng(seed).random((4, 7)) ** 4
    p[0, 3] = p[0, 5]
    expected = [multipletests(row, method="holm")[1] for row in p]
    assert holm(p) == pytest.approx(np.array(expected))
    assert holm([]).shape == (0,)
    assert holm([0.04]) == pytest.approx([0.04])


def test_the_four_words():
    found = verdicts(scores([0, 0.5, -0.5, 0.0], **QUIET), "start", 0.2)
    assert [v.word for v in found.start] == ["better", "worse", "equivalent"]
    noisy = verdicts(scores([0, 0.1], study=1, **(QUIET | {"seed": 0.3})), "start", 0.2)
    assert noisy.start[0].word == "cannot separate"
    assert noisy.start[0].need.more_seeds > 5


def test_the_unit_of_the_scores_is_nothing_to_the_words():
    given = scores([0, 0.5, -0.5, 0.0], **QUIET)
    small = verdicts({name: 1e-3 * y for name, y in given.items()}, "start", 0.2e-3)
    flipped = verdicts({name: -y for name, y in given.items()}, "start", 0.2)
    assert [v.word for v in small.start] == ["better", "worse", "equivalent"]
    assert [v.word for v in flipped.start] == ["worse", "better", "equivalent"]


def test_families_and_orientation():
    found = verdicts(scores([0, 0.5, 0.2, 0.1], **QUIET), "start", 0.1)
    assert [(v.a, v.b) for v in found.start] == [("a", "start"), ("b", "start"), ("c", "start")]
    assert len(found.pairs) == 6
    assert {v.b for v in found.pairs if "start" in (v.a, v.b)} == {"start"}
    for family in (found.start, found.pairs):
        p = [v.result.p for v in family]
        assert [v.p_holm for v in family] == pytest.approx(list(multipletests(p, method="holm")[1]))
        p = [v.result.p_equivalent(0.1) for v in family]
        assert [v.p_equivalent_holm for v in family] == pytest.approx(list(multipletests(p, method="holm")[1]))


def test_simultaneous_intervals_are_wider():
    found = verdicts(scores([0, 0.5, 0.2, 0.1]), "start", 0.1)
    for verdict in found.start:
        low, high = verdict.simultaneous
        assert low < verdict.result.low < verdict.result.high < high
        assert verdict.result.interval(0.05 / 3) == (low, high)


def test_significance_comes_before_equivalence():
    [found] = verdicts(scores([0, 0.1], **(QUIET | {"cell": 0.05}), prompts=400), "start", 0.4).start
    assert found.p_equivalent_holm < 0.05
    assert found.word == "better"
    assert any("smaller than the margin" in note for note in found.notes)


def test_a_tighter_interval_never_unsettles_a_verdict():
    a, start = (own[0] for own in World(cross=0.1, cell=0.3).studies(np.random.default_rng(3), 2, 1, 5, 100))
    d = a - start
    gain = d.mean()
    words = []
    for share in (1.0, 0.7, 0.4, 0.2, 0.1, 0.05):
        shrunk = start + 0.15 + share * (d - gain)
        words.append(verdicts({"start": start, "a": shrunk}, "start", 0.05).start[0].word)
    assert words == sorted(words, key=["cannot separate", "better"].index)
    assert words[-1] == "better"


def test_top_set():
    given = scores([0, 1.0, 0.98, 0.5], **(QUIET | {"seed": 0.05}))
    assert top_set(given) == ("a", "b")
    assert verdicts(given, "start", 0.1).top_set == ("a", "b")
    assert set(top_set(scores([0, 0.05, 0.1, 0.0], study=2, seed=0.5))) == {"start", "a", "b", "c"}


def test_whom_any_other_surely_beats_is_not_in_the_top_set():
    quiet = scores([0, 0.0, 0.5, 0.0], **(QUIET | {"seed": 0.02}))
    noisy = quiet["a"] + np.array([[-3.0], [0.0], [1.0], [3.0], [5.0]])
    found = verdicts({**quiet, "a": noisy}, "start", 0.1)
    words = {(pair.a, pair.b): pair.word for pair in found.pairs}
    assert (words["a", "c"], words["b", "c"]) == ("cannot separate", "better")
    assert noisy.mean() > quiet["b"].mean()
    assert found.top_set == ("a", "b"), "the best mean is in it, and c is not, though a cannot be told from c"


def test_top_set_of_one_seed_is_everybody():
    given = scores([0, 1.0, 2.0], runs=1)
    found = verdicts(given, "start", 0.1)
    assert found.top_set == ("start", "a", "b")
    assert all(v.word == "cannot separate" and v.p_holm == 1 and v.need is None for v in found.pairs)
    assert all(isinstance(v.result, Undecidable) and v.result.difference for v in found.pairs)
    assert "two seeds" in found.start[0].notes[0]


def test_pairing_matches_replicates_not_rows():
    rng = np.random.default_rng(4)
    a, start = (own[0] for own in World(shared=1.0).studies(rng, 2, 1, 5, 100))
    straight = verdicts({"start": start, "a": a}, "start", 0.1).start[0]
    shuffled = Runs(a[::-1], (4, 3, 2, 1, 0))
    again = verdicts({"start": start, "a": shuffled}, "start", 0.1).start[0]
    assert again.result.p == pytest.approx(straight.result.p)
    missing = verdicts({"start": start, "a": Runs(a[[0, 3]], (0, 3))}, "start", 0.1).start[0]
    assert missing.result.n_runs == (2, 2)
    unpaired = verdicts({"start": start, "a": Runs(a[[0, 3]], (0, 3))}, "start", 0.1, paired=False).start[0]
    assert unpaired.result.n_runs == (2, 5)


def test_seeds_cannot_help_is_said():
    given = scores([0, 0.05], study=5, prompts=20, cross=2.0)
    [found] = verdicts(given, "start", 0.1).start
    assert found.need.more_seeds is None
    assert "more seeds cannot help" in found.need.note
    assert found.need.more_prompts > 1000


def test_a_need_of_nothing_says_that_the_difference_is_small():
    for study in range(200):
        [found] = verdicts(scores([0, 0.06], study=study, **(QUIET | {"seed": 0.04})), "start", 0.12).start
        if found.need and found.need.more_seeds == 0:
            assert "likely smaller" in found.need.note
            return
    pytest.fail("no such study among 200")


def test_bad_questions_are_refused():
    given = scores([0, 0.1])
    with pytest.raises(ValueError, match="not among"):
        verdicts(given, "sft", 0.1)
    with pytest.raises(ValueError, match="above 0"):
        verdicts(given, "start", 0.0)


def test_the_start_alone():
    found = verdicts(scores([0]), "start", 0.1)
    assert (found.start, found.pairs, found.top_set) == ((), (), ("start",))


@pytest.mark.parametrize("paired", [True, False])
def test_less_noise_around_the_same_means_never_undoes_a_verdict(paired):
    """Neither a difference nor an equivalence that was found is lost where its interval shrinks."""
    a, b = World(seed=0.3, cross=0.2).studies(np.random.default_rng(5), 2, 60, 5, 30)
    later = 0
    for study, gap in enumerate(np.linspace(-0.8, 0.8, 60)):
        decided = []
        for noise in (1.0, 0.7, 0.4, 0.2, 0.05):
            one, other = (y.mean() + noise * (y - y.mean()) for y in (a[study] + gap, b[study]))
            [verdict] = verdicts({"start": other, "a": one}, "start", 0.2, paired=paired).start
            decided.append(verdict.word != "cannot separate")
        assert decided == sorted(decided)
        later += decided[-1] and not decided[0]
    assert later > 10
