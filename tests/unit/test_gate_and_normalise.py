# SPDX-License-Identifier: GPL-3.0-or-later
import math

import numpy as np
import pytest
from gnuradio.amc.engine import load_engine
from gnuradio.amc.gate import gate, mean_power
from gnuradio.amc.normalise import KINDS, normalise
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import liquid, modulators


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


def centred(frames):
    rails = normalise(frames, "unit_power_centred").astype(np.float64)
    return rails[:, 0] + 1j * rails[:, 1]


@pytest.mark.parametrize("frequency", [-0.5, -0.31, -1e-3, 0.0, 1e-5, 0.02, 0.25, 0.499])
def test_a_carrier_is_turned_back_to_a_constant(frequency):
    frame = (3 * np.exp(2j * np.pi * (frequency * np.arange(1024) + 0.1))).astype(np.complex64)
    np.testing.assert_allclose(centred(frame[None])[0], np.exp(0.2j * np.pi), atol=2e-4)


@given(
    length=st.sampled_from([1, 2, 15, 16, 17, 33, 1024]),
    offset=st.floats(-0.5, 0.5),
    level_db=st.floats(-300, 300),
    seed=st.integers(0, 1000),
)
def test_a_frame_is_turned_back_by_its_centre_of_gravity_wherever_it_lies(length, offset, level_db, seed):
    rng = np.random.default_rng(seed)
    shape = 3 + rng.normal(size=(1, length, 2)) @ [1, 1j]
    moved = 10 ** (level_db / 20) * shape * np.exp(2j * np.pi * offset * np.arange(length))
    frames = moved.astype(np.complex64)
    spectrum = np.abs(np.fft.fft(frames[0].astype(np.complex128), 2 * length)) ** 2
    centre = np.angle(np.sum(spectrum * np.exp(1j * np.pi * np.arange(2 * length) / length)))
    expected = frames[0] * np.exp(-1j * centre * np.arange(length))
    expected /= np.sqrt(np.mean(np.abs(expected) ** 2))
    np.testing.assert_allclose(centred(frames)[0], expected, atol=1e-4)


def test_frames_that_overlap_are_centred_like_copies():
    stream = random_frames().ravel()
    views = np.lib.stride_tricks.sliding_window_view(stream, 100)[::7]
    np.testing.assert_array_equal(centred(views), centred(views.copy()))


def timed(frames):
    rails = normalise(frames, "timed")
    return rails[:, 0] + 1j * rails[:, 1]


@pytest.mark.parametrize("roll_off", [0.2, 0.35, 0.5])
@pytest.mark.parametrize("name", ["BPSK", "8PSK", "16QAM", "256QAM", "8ASK"])
def test_symbols_of_gnu_radio_come_to_the_middle_of_eight_samples(name, roll_off):
    # At 16 samples per symbol every second one of which is taken, so that symbols lie midway between samples.
    sent = modulators.signal(name, 16, 2 * 1024 + 32, seed=3, roll_off=roll_off)
    for late in range(8):
        frame = sent[16 - 2 * late + 1 :: 2][:1024].copy()  # the middle of a symbol lies at late - 1/2
        expected = np.roll(frame, -((late - 4) % 8))
        np.testing.assert_array_equal(timed(frame[None])[0], expected)


@pytest.mark.parametrize("name", ["BPSK", "16PSK", "64QAM"])
@pytest.mark.parametrize("late", [0.0, 0.25, 2.5, 6.875])
def test_symbols_between_samples_come_to_the_middle_of_eight(name, late):
    """GNU Radio's signal at 64 samples per symbol, of which every eighth is taken."""
    sent = modulators.signal(name, 64, 8 * 1024 + 192, seed=3, roll_off=0.5)
    first = 64 - round(8 * late)  # the middle of a symbol lies at ``late``
    frame = sent[first::8][:1024].copy()
    expected = sent[first + round(8 * ((late - 3.5) % 8)) :: 8][:1024]
    rails = normalise(frame[None], "unit_power_timed")
    moved = (rails[:, 0] + 1j * rails[:, 1])[0] * np.sqrt(np.mean(np.abs(frame) ** 2))
    # Not at the end, where the frame goes on as it begins.
    assert np.abs(moved - expected)[1:-10].max() < 0.05


def test_noise_moves_symbols_by_one_sample_at_most():
    rng = np.random.default_rng(5)
    sent = modulators.signal("QPSK", 16, 2 * 1024 * 50 + 16, seed=4)[1::2]
    frames = sent[: 1024 * 50].reshape(50, 1024)
    noise = rng.normal(size=(50, 1024, 2)) @ [1, 1j] * np.sqrt(0.5) * 10 ** (-5 / 20)
    noisy = (frames + noise).astype(np.complex64)
    places = [np.flatnonzero(kept == frame[0])[0] for kept, frame in zip(timed(noisy), noisy, strict=True)]
    # The first symbol lies half a sample after the first sample.
    assert {(-place) % 8 for place in places} <= {4, 5, 6}


@given(length=st.sampled_from([1, 7, 63, 64, 65, 100, 1024]), seed=st.integers(0, 1000))
def test_a_frame_is_moved_in_a_circle_by_less_than_a_symbol(length, seed):
    frame = (np.random.default_rng(seed).normal(size=(1, length, 2)) @ [1, 1j]).astype(np.complex64)
    moved = timed(frame)[0]
    assert any(np.array_equal(moved, np.roll(frame[0], -late)) for late in range(8 if length >= 64 else 1))


@pytest.mark.parametrize(
    ("level", "expected"), [(1e-6, 1e-6), (0.7, 0.7), (2.0, 2.0), (2.5, 2.1), (7.0, 3.0), (27.0, 7.0)]
)
def test_of_a_level_above_two_a_fifth_stays(level, expected):
    rng = np.random.default_rng(2)
    frame = (rng.normal(size=(1, 1024, 2)) @ [1, 1j]).astype(np.complex64)
    frame *= np.float32(level / np.sqrt(np.mean(np.abs(frame) ** 2)))
    rails = normalise(frame, "timed_compressed")
    np.testing.assert_allclose(rails, normalise(frame, "timed") * (expected / level), rtol=1e-5)


# The order of which the first power with a line is, in noise of 20 dB below the symbols.
ORDERS = {
    **dict.fromkeys(("OOK", "4ASK", "8ASK", "BPSK", "QPSK", "16QAM", "64QAM", "256QAM"), 4),
    "8PSK": 8,
    "16APSK": 12,
    "16PSK": 16,
}


def sent_and_turned_back(name, phase, offset, seed, snr_db=11):
    """A frame of GNU Radio's without noise, complex (1024,), and what is made of it with that carrier and noise.

    Both are timed, so the middle of a symbol lies between the fourth and the fifth of eight samples. ``phase`` is that
    of the middle of the frame and ``offset`` its whole turn, in radians. The pulse is a root-raised cosine three times.
    """
    pulse = liquid.root_raised_cosine(16, 8, 0.4)
    sent = modulators.signal(name, 16, 2 * 1024 + 3 * len(pulse), seed=seed, roll_off=0.4)
    sent = np.convolve(np.convolve(sent, pulse, "valid"), pulse, "valid") / np.sum(pulse**2)
    frame = sent[9::2][:1024]
    carrier = np.exp(1j * (phase + offset * (np.arange(1024) - 511.5) / 1024))
    noise = np.random.default_rng(seed).normal(size=(1024, 2)) @ [1, 1j] * np.sqrt(0.5) * 10 ** (-snr_db / 20)
    rails = normalise((frame * carrier + noise).astype(np.complex64)[None], "timed_turned")
    return frame, rails[0, 0] + 1j * rails[0, 1]


def turn_of(sent, made):
    """The phase of what turned one into the other."""
    return np.angle(np.vdot(sent, made))


@pytest.mark.parametrize("name", ORDERS)
def test_constellations_stand_the_same_way_whatever_the_phase_is(name):
    turns = [turn_of(*sent_and_turned_back(name, 0.37 * seed, 0.0, seed)) for seed in range(20)]
    standing = np.exp(1j * ORDERS[name] * np.array(turns))
    errors = np.degrees(np.angle(standing * np.conj(standing.mean()))) / ORDERS[name]
    assert np.sqrt(np.mean(errors**2)) < (5 if name.endswith("QAM") else 1)


@pytest.mark.parametrize("name", ["OOK", "BPSK", "QPSK", "8PSK", "16PSK", "16APSK"])
@pytest.mark.parametrize("offset", [-30.0, -10.0, 5.0, 25.0])
def test_a_carrier_that_is_off_by_some_degrees_in_a_frame_is_turned_back(name, offset):
    for seed in range(5):
        sent, made = sent_and_turned_back(name, 1.0, np.radians(offset), seed)
        left = turn_of(sent[768:], made[768:]) - turn_of(sent[:256], made[:256])
        assert abs(np.degrees(np.angle(np.exp(1j * left)))) < 6


def test_noise_hides_the_phase_of_few_frames():
    """QPSK at an Es/N0 of 10 dB."""
    turns = np.array([turn_of(*sent_and_turned_back("QPSK", seed, 0.0, seed, snr_db=1)) for seed in range(100)])
    errors = np.degrees(np.angle(np.exp(4j * (turns - np.pi / 4)))) / 4
    assert np.mean(np.abs(errors) < 8) >= 0.97


@pytest.mark.parametrize("seed", range(5))
def test_a_turn_beforehand_changes_nothing_but_a_part_of_the_circle(seed):
    """Of noise as well, which has no carrier."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=1024) + 1j * rng.normal(size=1024)
    sent = modulators.signal("32QAM", 8, 1024, seed=seed)
    for frame in (noise, sent + 0.1 * noise, sent + noise):
        before = np.exp(1j * np.linspace(0, 2 * np.pi, 12, endpoint=False))
        rails = normalise((frame * before[:, None]).astype(np.complex64), "timed_turned")
        made = rails[:, 0] + 1j * rails[:, 1]
        turns = made[1:] @ made[0].conj() / np.vdot(made[0], made[0])
        np.testing.assert_allclose(np.abs(turns), 1, atol=1e-4)
        assert any(np.allclose(turns**order, 1, atol=1e-2) for order in (4, 8, 12, 16))


@given(
    length=st.sampled_from([1, 64, 127, 128, 200, 1024]),
    level_db=st.floats(-300, 300),
    seed=st.integers(0, 1000),
)
def test_turning_keeps_the_magnitude_of_each_sample(length, level_db, seed):
    noise = np.random.default_rng(seed).normal(size=(1, length, 2)) @ [1, 1j]
    frame = (noise * 10 ** (level_db / 20)).astype(np.complex64)
    kept, turned = (normalise(frame, kind) for kind in ("timed_compressed", "timed_turned"))
    np.testing.assert_allclose(np.hypot(*turned[0]), np.hypot(*kept[0]), rtol=1e-5)
    if length < 128:
        np.testing.assert_array_equal(turned, kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_frames_that_have_no_carrier_keep_their_samples(bad):
    frames = np.zeros((3, 1024), np.complex64)
    frames[0], frames[1, 500] = bad, bad
    np.testing.assert_array_equal(load_engine().turned(frames), frames)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_frames_that_have_no_symbols_keep_their_samples(bad):
    frame = np.full((1, 1024), bad, np.complex64)
    np.testing.assert_array_equal(timed(frame), frame)


@pytest.mark.parametrize("kind", KINDS)
def test_no_frames_are_none(kind):
    assert normalise(np.empty((0, 64), np.complex64), kind).shape == (0, 2, 64)
