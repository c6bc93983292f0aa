# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio.amc.decide import UNKNOWN, Decider
from gnuradio.amc.errors import AmcError
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ("A", "B", "C")


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
    logits = np.random.default_rng(seed).normal(scale=3, size=(sum(pieces), 3)).astype(np.float32)
    decider = Decider(CLASSES, temperature, average, 0.0)
    parts = np.split(logits, np.cumsum(pieces)[:-1])
    given_out = np.concatenate([decider.probabilities(part) for part in parts])
    for index, row in enumerate(given_out):
        last = logits[max(0, index - average + 1) : index + 1].astype(np.float64)
        single = np.array([softmax(one / temperature) for one in last])
        product = single.prod(axis=0) ** (1 / len(last))
        np.testing.assert_allclose(row, product / product.sum(), rtol=1e-4, atol=1e-6)


def test_restart_forgets():
    logits = np.array([[9.0, 0, 0], [0, 9.0, 0]], np.float32)
    decider = Decider(CLASSES, 1.0, 2, 0.0)
    decider.probabilities(logits[:1])
    decider.restart()
    assert decider.labels(decider.probabilities(logits[1:])) == ["B"]


def test_a_smaller_average_takes_effect_at_once():
    decider = Decider(CLASSES, 1.0, 4, 0.0)
    decider.probabilities(np.array([[9.0, 0, 0]] * 3, np.float32))
    decider.average = 1
    assert decider.labels(decider.probabilities(np.array([[0, 1.0, 0]], np.float32))) == ["B"]


def test_threshold_lies_between_label_and_unknown():
    decider = Decider(CLASSES, 1.0, 1, 0.6)
    assert decider.labels(np.array([[0.6, 0.3, 0.1]])) == ["A"]
    assert decider.labels(np.array([[0.599, 0.3, 0.101]])) == [UNKNOWN]


def test_temperature_softens_without_changing_the_order():
    logits = np.array([[4.0, 1.0, 0.0]], np.float32)
    sharp = Decider(CLASSES, 1.0, 1, 0.0).probabilities(logits)[0]
    soft = Decider(CLASSES, 4.0, 1, 0.0).probabilities(logits)[0]
    assert soft.max() < sharp.max()
    assert soft.argsort().tolist() == sharp.argsort().tolist()


def test_huge_logits_do_not_overflow():
    row = Decider(CLASSES, 1.0, 1, 0.0).probabilities(np.array([[1e30, 0, -1e30]], np.float32))[0]
    assert row.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("average", "threshold"), [(0, 0.5), (-1, 0.5), (1.5, 0.5), (10**9, 0.5), (1, -0.1), (1, 1.01), (1, float("nan"))]
)
def test_settings_out_of_range_are_refused(average, threshold):
    with pytest.raises(AmcError, match="^(average|threshold) is"):
        Decider(CLASSES, 1.0, average, threshold)
