# SPDX-License-Identifier: GPL-3.0-or-later
"""The analytic signal, against its definition."""

import numpy as np
from gnuradio.amc.analytic import AnalyticSignal


def test_a_cosine_becomes_a_tone_of_the_same_amplitude():
    phase = 2 * np.pi * 0.031 * np.arange(30000)
    analytic = AnalyticSignal()
    tone = np.concatenate([analytic.push(np.cos(phase).astype(np.float32)), analytic.finish()])
    np.testing.assert_allclose(tone[1000:-1000], np.exp(1j * phase)[1000:-1000], atol=2e-3)


def test_a_sample_that_is_no_number_spoils_only_its_surroundings():
    real = np.cos(0.3 * np.arange(20000)).astype(np.float32)
    real[10000] = np.nan
    analytic = AnalyticSignal()
    samples = np.concatenate([analytic.push(real), analytic.finish()])
    bad = np.flatnonzero(~np.isfinite(samples))
    np.testing.assert_array_equal(bad, np.arange(10000 - 256, 10000 + 257))
