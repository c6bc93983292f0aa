# SPDX-License-Identifier: GPL-3.0-or-later
import math

import numpy as np
import pytest
from gnuradio.amc.gate import gate, mean_power
from gnuradio.amc.normalise import normalise


def tone(amplitude, length=1024):
    return (amplitude * np.exp(2j * np.pi * 0.01 * np.arange(length))).astype(np.complex64)


@pytest.mark.parametrize(("amplitude", "dbfs"), [(1.0, 0.0), (0.1, -20.0), (2.0, 20 * math.log10(2))])
def test_power_is_relative_to_a_full_scale_tone(amplitude, dbfs):
    _, level = gate(mean_power(tone(amplitude)[None]), -200.0)
    assert level[0] == pytest.approx(dbfs, abs=1e-4)


def test_squelch_lies_between_what_passes_and_what_does_not():
    frames = np.stack([tone(0.1001), tone(0.0999)])
    keep, _ = gate(mean_power(frames), -20.0)
    assert keep.tolist() == [True, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan), complex(1, np.inf)])
def test_one_bad_sample_spoils_its_window_only(bad):
    frames = np.stack([tone(1.0), tone(1.0), tone(1.0)])
    frames[1, 17] = bad
    keep, _ = gate(mean_power(frames), -200.0)
    assert keep.tolist() == [True, False, True]


def test_silence_never_passes():
    keep, level = gate(mean_power(np.zeros((1, 64), np.complex64)), -math.inf)
    assert not keep[0]
    assert level[0] == -math.inf


def test_overlapping_views_are_gated_like_copies():
    stream = (np.random.default_rng(3).normal(size=4096) * (1 + 1j)).astype(np.complex64)
    views = np.lib.stride_tricks.sliding_window_view(stream, 1024)[::100]
    for of_views, of_copies in zip(gate(mean_power(views), -3.0), gate(mean_power(views.copy()), -3.0), strict=True):
        np.testing.assert_array_equal(of_views, of_copies)


def random_frames():
    rng = np.random.default_rng(7)
    frames = rng.normal(size=(5, 256)) + 1j * rng.normal(size=(5, 256)) + 0.7 - 0.2j
    return (frames * np.array([[1e-4], [0.3], [1], [50], [1e5]])).astype(np.complex64)


def test_none_keeps_the_samples():
    frames = random_frames()
    rails = normalise(frames, "none")
    assert rails.dtype == np.float32
    np.testing.assert_array_equal(rails[:, 0], frames.real)
    np.testing.assert_array_equal(rails[:, 1], frames.imag)


def test_unit_power():
    rails = normalise(random_frames(), "unit_power").astype(np.float64)
    np.testing.assert_allclose((rails**2).sum(axis=1).mean(axis=1), 1.0, rtol=1e-5)


def test_unit_variance_keeps_the_mean_in():
    frames = random_frames()
    rails = normalise(frames, "unit_variance").astype(np.float64)
    signal = rails[:, 0] + 1j * rails[:, 1]
    np.testing.assert_allclose(signal.var(axis=1), 1.0, rtol=1e-4)
    expected = frames.astype(np.complex128).mean(axis=1) / frames.astype(np.complex128).std(axis=1)
    np.testing.assert_allclose(signal.mean(axis=1), expected, rtol=1e-3)


def test_a_constant_frame_stays_finite():
    frames = np.full((1, 128), 0.5 + 0.5j, np.complex64)
    assert np.isfinite(normalise(frames, "unit_variance")).all()
