# SPDX-License-Identifier: GPL-3.0-or-later
"""Calibration, and what tells frames of no class, against their definitions."""

import numpy as np
import pytest
import torch
from gnuradio.amc import decide
from hypothesis import given
from hypothesis import strategies as st

from training.calibration import SCORES, Reliability, area_under_roc, choose_rejection, kept


def test_a_network_that_is_as_right_as_it_is_sure_has_no_calibration_error():
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1, 200_000)
    probabilities = np.stack((confidence, 1 - confidence), axis=1)
    right = generator.uniform(size=len(confidence)) < confidence
    reliability = Reliability()
    for part in np.split(np.arange(len(confidence)), 4):
        reliability.add(probabilities[part], np.where(right, 0, 1)[part])
    assert reliability.error() < 0.005


@given(st.integers(0, 1000))
def test_the_calibration_error_is_that_of_the_paper(seed):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.5] * 4, 50)
    classes = generator.integers(0, 4, 50)
    reliability = Reliability()
    reliability.add(probabilities, classes)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = [i for i, row in enumerate(probabilities) if low <= row.max() < low + 1 / 15]
        if inside:
            accuracy = np.mean([probabilities[i].argmax() == classes[i] for i in inside])
            error += len(inside) / 50 * abs(accuracy - np.mean([probabilities[i].max() for i in inside]))
    assert reliability.error() == pytest.approx(error, abs=1e-9)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_the_area_is_the_share_of_pairs_in_order(known, others):
    share = np.mean([[(a > b) + 0.5 * (a == b) for b in others] for a in known])
    assert area_under_roc(torch.tensor(known), torch.tensor(others)) == pytest.approx(share)


def test_scores_are_those_that_the_classifier_computes():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(1)) * 4
    assert SCORES.keys() == decide.SCORES.keys()
    for name, score in SCORES.items():
        np.testing.assert_allclose(score(logits.double()), decide.SCORES[name](logits.double().numpy()), rtol=1e-6)


@pytest.mark.parametrize("height", [True, False])
def test_the_score_that_tells_best_is_chosen_and_keeps_its_share(height):
    """Others differ from the known in the height of all logits, which only two scores see, or in how they spread."""
    generator = torch.Generator().manual_seed(2)
    known = torch.randn(4000, 5, generator=generator)
    known[:, 0] += 6
    others = known - 8 if height else torch.randn(4000, 5, generator=generator) * 0.1 + known.logsumexp(1)[:, None]
    rejection = choose_rejection(known, others, 1.5)
    areas = rejection["area_under_roc"]
    assert areas[rejection["score"]] == max(areas.values()) > 0.95
    assert (rejection["score"] == "max_probability") is not height
    assert float(kept(known, rejection, 1.5).float().mean()) == pytest.approx(0.95, abs=0.001)
    assert float(kept(others, rejection, 1.5).float().mean()) < 0.1
