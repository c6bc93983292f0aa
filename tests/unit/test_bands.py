# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bands are found: those of signals that were put there, in noise of several spectra, and no others."""

import numpy as np
import pytest
from gnuradio.amc.bands import SHORTEST_SAMPLES, Band, find_bands, find_core, power_spectrum
from gnuradio.amc.demo import make_passage
from scipy.signal import fftconvolve, firwin

from tests.helpers.linear_signals import linear_signal, white_noise

COUNT = 65_536


def tone(frequency, count=COUNT):
    return np.exp(2j * np.pi * frequency * np.arange(count)).astype(np.complex64)


def signal_at(centre, symbol_rate, power_db, seed=0, scheme=("qpsk", 4)):
    """Root raised cosine pulses of roll-off 0.35: 99 % of the power lie in 1.17 symbol rates."""
    return 10 ** (power_db / 20) * linear_signal(*scheme, COUNT, symbol_rate, seed=seed) * tone(centre)


def filtered_noise(cutoff, seed, taps=401):
    """White noise of density 1 in the passband of a receiver, and 80 dB less beside it."""
    noise = fftconvolve(white_noise(COUNT, 1.0, seed), firwin(taps, cutoff, fs=2), "same")
    return (noise + white_noise(COUNT, 1e-8, seed + 1000)).astype(np.complex64)


def test_the_spectrum_has_the_power_of_the_samples():
    samples = white_noise(COUNT, 0.3, 1) + 0.5 * tone(0.2)
    density, averages = power_spectrum(samples.astype(np.complex64))
    assert averages > 20
    assert density.sum() == pytest.approx(0.3 + 0.25, rel=0.02)
    assert np.argmax(density) / len(density) - 0.5 == pytest.approx(0.2, abs=1 / len(density))


@pytest.mark.parametrize("noise_db", [-60, 0])
def test_bands_of_known_signals(noise_db):
    """Centre, bandwidth, power and signal-to-noise ratio of three signals, whatever the level."""
    truth = ((0.3, 0.1, 6.0), (-0.2, 0.05, 0.0), (0.05, 0.02, -6.0))
    samples = white_noise(COUNT, 1.0, 9)
    for seed, (centre, rate, power_db) in enumerate(truth):
        samples = samples + signal_at(centre, rate, power_db, seed)
    bands = find_bands((10 ** (noise_db / 20) * samples).astype(np.complex64))
    assert len(bands) == 3
    for band, (centre, rate, power_db) in zip(bands, truth, strict=True):
        assert band.centre == pytest.approx(centre, abs=0.03 * rate)
        assert band.bandwidth == pytest.approx(1.17 * rate, rel=0.08)
        assert band.power == pytest.approx(power_db + noise_db, abs=0.5)
        assert band.snr == pytest.approx(power_db - 10 * np.log10(band.bandwidth), abs=1.0)
    assert find_bands(samples.astype(np.complex64), limit=2) == find_bands(samples.astype(np.complex64))[:2]


@pytest.mark.parametrize("symbol_rate", [0.01, 0.1, 0.5])
def test_bands_are_stable_from_one_estimate_to_the_next(symbol_rate):
    bands = []
    for seed in range(4):
        samples = signal_at(0.1, symbol_rate, 0.0, seed) + white_noise(COUNT, 0.1 / symbol_rate, seed + 50)
        (band,) = find_bands(samples.astype(np.complex64))
        bands.append(band)
    assert np.ptp([band.centre for band in bands]) < 0.05 * symbol_rate
    assert np.ptp([band.bandwidth for band in bands]) < 0.1 * symbol_rate


@pytest.mark.parametrize("count", [SHORTEST_SAMPLES, 10_000, COUNT])
def test_white_noise_has_no_band(count):
    assert sum(len(find_bands(white_noise(count, 1.0, seed))) for seed in range(60)) == 0


@pytest.mark.parametrize(("cutoff", "taps"), [(0.1, 401), (0.4, 401), (0.8, 401), (0.8, 31)])
def test_noise_in_the_passband_of_a_receiver_is_no_signal(cutoff, taps):
    assert [find_bands(filtered_noise(cutoff, seed, taps)) for seed in range(8)] == [[]] * 8


@pytest.mark.parametrize("cutoff", [0.25, 0.8])
def test_a_signal_within_a_passband_is_found_without_the_noise_around(cutoff):
    samples = filtered_noise(cutoff, 1) + signal_at(0.04, 0.06, 0.0)
    (band,) = find_bands(samples.astype(np.complex64))
    assert band.centre == pytest.approx(0.04, abs=0.004)
    assert band.bandwidth == pytest.approx(1.17 * 0.06, rel=0.1)


def test_a_signal_over_most_of_the_capture_is_found():
    for scheme in (("bpsk", 2), ("qpsk", 4), ("qam16", 16)):
        samples = signal_at(0.0, 0.55, 20.0, scheme=scheme) + white_noise(COUNT, 1.0, 3)
        (band,) = find_bands(samples.astype(np.complex64))
        assert band.bandwidth == pytest.approx(1.17 * 0.55, rel=0.05)


def test_a_wide_signal_with_broad_flanks_is_found():
    """Rectangular symbols, five samples long, have a main lobe of 0.4 in a passband of 0.5, as a 9600 baud downlink."""
    symbols = np.random.default_rng(8).choice([-1, 1], COUNT // 5 + 1)
    for seed in range(4):
        samples = 3 * np.repeat(symbols, 5)[:COUNT] + white_noise(COUNT, 1.0, seed)
        samples = fftconvolve(samples, firwin(401, 0.5, fs=2), "same") + white_noise(COUNT, 1e-5, seed + 9)
        (band,) = find_bands(samples.astype(np.complex64))
        assert abs(band.centre) < 0.01
        assert 0.2 < band.bandwidth < 0.45


def test_a_signal_in_a_passband_that_was_taken_for_one_band_is_its_core():
    passband = firwin(401, 0.2, fs=2) * np.exp(2j * np.pi * 0.05 * np.arange(401))
    noise = fftconvolve(white_noise(COUNT, 1.0, 11), passband, "same") + white_noise(COUNT, 3e-3, 12)
    samples = (noise + signal_at(0.01, 0.02, 0.0)).astype(np.complex64)
    core = find_core(samples, Band(0.05, 0.19, 0.0, 20.0))
    assert core.centre == pytest.approx(0.01, abs=0.003)
    assert core.bandwidth == pytest.approx(1.17 * 0.02, rel=0.2)
    level = (signal_at(0.05, 0.1, 10.0) + white_noise(COUNT, 1.0, 13)).astype(np.complex64)
    assert find_core(level, find_bands(level)[0]) is None


@pytest.mark.parametrize("truth", ["AM-DSB-WC", "AM-DSB-SC", "AM-SSB-SC"])
def test_the_pieces_of_an_analogue_signal_are_one_band(truth):
    """GNU Radio's modulators with sound from 300 to 3400 Hz at 200 kHz: carrier and sidebands belong together."""
    (band,) = find_bands(make_passage(truth, 10, COUNT, 1))
    edges = (300 / 200e3, 3400 / 200e3) if truth == "AM-SSB-SC" else (-3400 / 200e3, 3400 / 200e3)
    assert (band.lower, band.upper) == pytest.approx(edges, abs=0.0015)


def test_a_line_at_zero_is_the_receivers_and_one_elsewhere_a_signal():
    noise = white_noise(COUNT, 1.0, 4)
    assert find_bands((noise + tone(0.0)).astype(np.complex64)) == []
    (band,) = find_bands((noise + tone(0.123)).astype(np.complex64))
    assert band.centre == pytest.approx(0.123, abs=1e-3)
    assert band.bandwidth < 0.01


def test_the_empty_half_of_an_analytic_signal_is_left_out():
    spectrum = np.fft.fft(white_noise(COUNT, 1.0, 5) + signal_at(0.2, 0.05, 0.0))
    spectrum[COUNT // 2 :] = 0
    (band,) = find_bands(np.fft.ifft(spectrum).astype(np.complex64), lowest=0.0)
    assert band.centre == pytest.approx(0.2, abs=0.002)


def test_samples_that_are_no_numbers_spoil_only_their_surroundings():
    samples = (signal_at(0.1, 0.1, 0.0) + white_noise(COUNT, 1.0, 6)).astype(np.complex64)
    samples[30_000:30_100] = np.nan
    (band,) = find_bands(samples)
    assert band.centre == pytest.approx(0.1, abs=0.005)
    assert find_bands(np.full(COUNT, np.nan, np.complex64)) == []


@pytest.mark.parametrize("samples", [np.zeros(COUNT, np.complex64), np.ones(100, np.complex64)])
def test_silence_and_too_few_samples_have_no_band(samples):
    assert find_bands(samples) == []


@pytest.mark.parametrize("period", [96, 128, 200])
def test_a_sweep_again_and_again_is_one_band_not_its_lines(period):
    """As wide as 99 % of the power of its lines, which one period tells."""
    once = np.exp(2j * np.pi * np.cumsum(0.25 * (np.arange(period) / period - 0.5)))
    lines = np.fft.fftshift(np.abs(np.fft.fft(once)) ** 2)
    reached = np.cumsum(lines) / lines.sum()
    width = ((reached < 0.995).sum() - (reached < 0.005).sum()) / period
    sweeps = np.tile(once, COUNT // period + 1)[:COUNT] * tone(0.1)
    (band,) = find_bands((sweeps + white_noise(COUNT, 0.03, 1)).astype(np.complex64))
    assert band.centre == pytest.approx(0.1, abs=1 / period)
    assert band.bandwidth == pytest.approx(width, abs=2 / period)


@pytest.mark.parametrize("places", [np.arange(4), np.array([0, 1, 2, 4, 5, 7, 8, 11])], ids=["few", "uneven"])
def test_carriers_beside_each_other_are_bands_of_their_own(places):
    samples = sum(tone(0.02 * place - 0.11) for place in places) + white_noise(COUNT, 0.1, 1)
    assert len(find_bands(samples.astype(np.complex64))) == len(places)
