# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio.amc.decide import UNKNOWN, Averages, Decider, Rejection
from gnuradio.amc.errors import AmcError
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ("A", "B", "C")


def averages(probabilities, score=0.0):
    """Of one window."""
    return Averages(np.array([probabilities]), np.array([score]))


def softmax(values):
    """The textbook definition, one row at a time, to compare with."""
    exponentials = [np.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


@given(
    average=st.integers(1, 6),
    temperature=st.floats(0.2, 5),
    pieces=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_average_is_the_geometric_mean_of_the_last_windows(average, temperature, pieces, seed):
    # Too little contrast for a change of the signal: 35 windows are not enough to pass it.
    logits = np.random.default_rng(seed).uniform(0, 0.05, size=(sum(pieces), 3)).astype(np.float32)
    decider = Decider(CLASSES, temperature, average, 0.0)
    parts = np.split(logits, np.cumsum(pieces)[:-1])
    given_out = np.concatenate([decider.averages(part).probabilities for part in parts])
    for index, row in enumerate(given_out):
        last = logits[max(0, index - average + 1) : index + 1].astype(np.float64)
        single = np.array([softmax(one / temperature) for one in last])
        product = single.prod(axis=0) ** (1 / len(last))
        np.testing.assert_allclose(row, product / product.sum(), rtol=1e-4, atol=1e-6)


def test_restart_forgets():
    logits = np.array([[9.0, 0, 0], [0, 9.0, 0]], np.float32)
    decider = Decider(CLASSES, 1.0, 2, 0.0)
    decider.averages(logits[:1])
    decider.restart()
    assert decider.labels(decider.averages(logits[1:])) == ["B"]


@given(
    average=st.integers(1, 6),
    pieces=st.lists(st.integers(1, 7), min_size=2, max_size=8),
    scale=st.floats(0.5, 12),
    seed=st.integers(0, 10_000),
)
def test_how_the_windows_come_changes_nothing(average, pieces, scale, seed):
    """Of windows that change their mind, so that averages often begin anew."""
    logits = np.random.default_rng(seed).normal(scale=scale, size=(sum(pieces), 3)).astype(np.float32)
    decider = Decider(CLASSES, 1.0, average, 0.0)
    parts = [decider.averages(part).probabilities for part in np.split(logits, np.cumsum(pieces)[:-1])]
    whole = Decider(CLASSES, 1.0, average, 0.0).averages(logits).probabilities
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-7)


def windows_of(truth, generator, contrast):
    """Logits of windows of the classes ``truth`` (n,), which speak for them by ``contrast`` on average."""
    return (contrast * np.eye(3)[truth] + generator.normal(size=(len(truth), 3))).astype(np.float32)


@given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_a_change_of_the_signal_begins_the_average_anew(seed, pieces):
    """A hundred windows of one class, then of another: the label follows at once, as if there had been none before."""
    truth = np.repeat([0, 2], 100)
    logits = windows_of(truth, np.random.default_rng(seed), 6.0)
    decider = Decider(CLASSES, 1.0, 64, 0.0)
    parts = np.split(logits, np.cumsum(pieces))
    averages_of = np.concatenate([decider.averages(part).probabilities for part in parts])
    whole = Decider(CLASSES, 1.0, 64, 0.0).averages(logits).probabilities
    np.testing.assert_allclose(averages_of, whole, rtol=1e-4, atol=1e-7)
    named = whole.argmax(axis=1)
    assert (named[:100] == 0).all()
    assert (named[105:] == 2).all()
    # Nothing of the first signal is left in the average.
    alone = Decider(CLASSES, 1.0, 64, 0.0).averages(logits[100:]).probabilities
    np.testing.assert_allclose(whole[110:], alone[10:], rtol=0.2, atol=1e-3)


def test_one_signal_is_averaged_to_the_end():
    """Windows that are often taken for another class, ten thousand of them: the average is not interrupted."""
    generator = np.random.default_rng(3)
    noisy = windows_of(np.zeros(10_000, int), generator, 1.0)
    # What a calibrated network says of such windows is how probable each class is, given what it sees.
    single = noisy.argmax(axis=1)
    assert np.mean(single != 0) > 0.2
    named = Decider(CLASSES, 1.0, 64, 0.0).averages(noisy).probabilities.argmax(axis=1)
    assert (named[64:] == 0).all()


def test_what_spoke_for_a_class_before_it_was_held_does_not_count_again():
    """A class that took over from another, which takes over again: nothing is left of the first time."""
    decider = Decider(CLASSES, 1.0, 8, 0.0)
    towards_b = np.array([[0, 4.0, 0]], np.float32)
    decider.averages(np.array([[3.0, 0, 0]] * 3, np.float32))
    decider.averages(np.repeat(towards_b, 3, axis=0))
    held = decider._history[:, :3].mean(axis=0).argmax()
    assert decider._evidence[held] == 0.0


def test_an_average_that_was_one_begins_anew():
    decider = Decider(CLASSES, 1.0, 8, 0.0)
    decider.averages(np.array([[9.0, 0, 0], [0, 5.0, 0]], np.float32))
    decider.average = 1
    decider.averages(np.array([[0, 0, 9.0]], np.float32))
    decider.average = 8
    assert decider.labels(decider.averages(np.array([[0, 1.0, 0]], np.float32))) == ["B"]


def test_a_smaller_average_takes_effect_at_once():
    decider = Decider(CLASSES, 1.0, 4, 0.0)
    decider.averages(np.array([[9.0, 0, 0]] * 3, np.float32))
    decider.average = 1
    assert decider.labels(decider.averages(np.array([[0, 1.0, 0]], np.float32))) == ["B"]


def test_threshold_lies_between_label_and_unknown():
    decider = Decider(CLASSES, 1.0, 1, 0.6)
    assert decider.labels(averages([0.6, 0.3, 0.1])) == ["A"]
    assert decider.labels(averages([0.599, 0.3, 0.101])) == [UNKNOWN]


def test_temperature_softens_without_changing_the_order():
    logits = np.array([[4.0, 1.0, 0.0]], np.float32)
    sharp = Decider(CLASSES, 1.0, 1, 0.0).averages(logits).probabilities[0]
    soft = Decider(CLASSES, 4.0, 1, 0.0).averages(logits).probabilities[0]
    assert soft.max() < sharp.max()
    assert soft.argsort().tolist() == sharp.argsort().tolist()


def test_huge_logits_do_not_overflow():
    row = Decider(CLASSES, 1.0, 1, 0.0).averages(np.array([[1e30, 0, -1e30]], np.float32)).probabilities[0]
    assert row.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("score", ["max_probability", "max_logit", "energy"])
def test_scores_are_those_of_their_papers_averaged_over_windows(score):
    logits = np.random.default_rng(1).normal(scale=3, size=(9, 3)).astype(np.float32)
    logits[:, 0] += 20  # one signal throughout
    scaled = logits.astype(float) / 2.0
    whole = {
        "max_probability": np.log([max(softmax(row)) for row in scaled]),
        "max_logit": scaled.max(axis=1),
        "energy": np.log(np.exp(scaled).sum(axis=1)),
    }[score]
    decider = Decider(CLASSES, 2.0, 3, 0.0, Rejection(score, 0.0))
    found = np.concatenate([decider.averages(part).scores for part in (logits[:4], logits[4:])])
    expected = [whole[max(0, index - 2) : index + 1].mean() for index in range(len(logits))]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_what_scores_too_low_is_unknown_unless_everything_is_to_have_a_label():
    rejecting = Rejection("energy", 2.0)
    for threshold, score, label in ((0.5, 2.0, "A"), (0.5, 1.99, UNKNOWN), (0.0, 1.99, "A"), (0.9, 2.0, UNKNOWN)):
        decider = Decider(CLASSES, 1.0, 1, threshold, rejecting)
        assert decider.labels(averages([0.8, 0.1, 0.1], score)) == [label]


def test_sure_and_strange_windows_are_told_apart_by_their_logits():
    """The same probabilities, at another height of the logits."""
    decider = Decider(CLASSES, 1.0, 1, 0.5, Rejection("energy", 5.0))
    assert decider.labels(decider.averages(np.array([[9.0, 1, 1], [3.0, -5, -5]], np.float32))) == ["A", UNKNOWN]


@pytest.mark.parametrize(
    ("average", "threshold"),
    [(0, 0.5), (-1, 0.5), (1.5, 0.5), (10**9, 0.5), (1, -0.1), (1, 1.01), (1, float("nan")), (1, None), (None, 0.5)],
)
def test_settings_out_of_range_are_refused(average, threshold):
    with pytest.raises(AmcError, match="^(average|threshold) is"):
        Decider(CLASSES, 1.0, average, threshold)
