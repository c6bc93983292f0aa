# SPDX-License-Identifier: GPL-3.0-or-later
"""The symbol rate of signals from other modulators, and that noise and analogue signals have none."""

import numpy as np
import pytest
from gnuradio.amc import AmcError
from gnuradio.amc.bands import find_bands
from gnuradio.amc.conditioning import measure_symbol_rate
from gnuradio.amc.demo import make_passage
from gnuradio.amc.symbol_rate import estimate_symbol_rate

from tests.helpers import liquid
from tests.helpers.linear_signals import linear_signal, white_noise

COUNT = 32_768


def received(signal, symbol_rate, snr_db, centre=0.0):
    """The signal at ``centre`` in noise: ``snr_db`` in a bandwidth of one symbol rate."""
    noise = white_noise(len(signal), 10 ** (-snr_db / 10) / symbol_rate, seed=7)
    return (signal * np.exp(2j * np.pi * centre * np.arange(len(signal))) + noise).astype(np.complex64)


def measured(samples):
    (band,) = find_bands(samples, limit=1)
    return measure_symbol_rate(samples, band)


@pytest.mark.parametrize("samples_per_symbol", [2.2, 5, 16])
@pytest.mark.parametrize("snr_db", [8, 25])
@pytest.mark.parametrize(("scheme", "order"), [("bpsk", 2), ("qpsk", 4), ("psk8", 8), ("qam64", 64)])
def test_linear_modulations_of_liquid(scheme, order, snr_db, samples_per_symbol):
    rate = 1 / samples_per_symbol
    found = measured(received(linear_signal(scheme, order, COUNT, rate), rate, snr_db, centre=0.1))
    assert found.rate == pytest.approx(rate, rel=2e-3)
    assert found.confidence > 0.99


@pytest.mark.parametrize("roll_off", [0.15, 0.5])
def test_roll_offs(roll_off):
    signal = linear_signal("qpsk", 4, COUNT, 0.2, roll_off=roll_off)
    assert measured(received(signal, 0.2, 20)).rate == pytest.approx(0.2, rel=2e-3)


@pytest.mark.parametrize("samples_per_symbol", [4, 10])
def test_staggered_rails_are_not_taken_for_twice_the_rate(samples_per_symbol):
    rate = 1 / samples_per_symbol
    signal = linear_signal("qpsk", 4, COUNT, rate, staggered=True)
    assert measured(received(signal, rate, 15, centre=-0.2)).rate == pytest.approx(rate, rel=2e-3)


@pytest.mark.parametrize("samples_per_symbol", [4, 8, 16])
@pytest.mark.parametrize("bandwidth_time", [0.25, 0.5])
def test_gmsk_of_liquid(samples_per_symbol, bandwidth_time):
    bits = np.random.default_rng(2).integers(2, size=COUNT // samples_per_symbol)
    signal = liquid.gmsk(bits, samples_per_symbol, bandwidth_time)
    found = measured(received(signal, 1 / samples_per_symbol, 15, centre=0.15))
    assert found.rate == pytest.approx(1 / samples_per_symbol, rel=2e-3)


@pytest.mark.parametrize("truth", ["OOK", "4ASK", "BPSK", "QPSK", "8PSK", "16QAM", "GMSK"])
def test_modulators_of_gnuradio(truth):
    """At 8 samples per symbol and 10 dB over the whole sample rate."""
    assert measured(make_passage(truth, 10, COUNT, seed=1)).rate == pytest.approx(1 / 8, rel=2e-3)


@pytest.mark.parametrize("truth", ["FM", "AM-DSB-WC", "AM-DSB-SC", "AM-SSB-SC"])
def test_analogue_signals_have_none(truth):
    for seed in range(4):
        assert measured(make_passage(truth, 10, COUNT, seed)).rate is None


def test_noise_has_one_as_rarely_as_the_confidence_says():
    """The confidence of noise is at least p in no more than 1 - p of the cases; binomial limits of five sigma."""
    confidences = []
    for seed in range(150):
        spectrum = np.fft.fft(white_noise(4096, 1.0, seed))
        spectrum[512:-512] = 0  # a band of 0.25
        confidences.append(estimate_symbol_rate(np.fft.ifft(spectrum), 0.25).confidence)
    for limit in (0.5, 0.9, 0.99):
        share = 1 - limit
        assert np.mean(np.array(confidences) >= limit) < share + 5 * np.sqrt(share * limit / 150)


def test_too_few_samples_and_samples_that_are_no_numbers_have_none():
    assert estimate_symbol_rate(white_noise(100, 1.0, 1), 0.25).rate is None
    signal = linear_signal("qpsk", 4, 8192, 0.2)
    assert estimate_symbol_rate(signal, 0.24).rate == pytest.approx(0.2, rel=2e-3)
    signal[100] = np.nan
    assert estimate_symbol_rate(signal, 0.24).rate is None


@pytest.mark.parametrize("bandwidth", [0, -0.1, 0.5, np.nan])
def test_a_band_that_is_no_part_of_the_spectrum_is_one_sentence(bandwidth):
    with pytest.raises(AmcError, match="resample first") as caught:
        estimate_symbol_rate(white_noise(1000, 1.0, 1), bandwidth)
    assert "\n" not in str(caught.value)


def test_a_band_too_narrow_for_so_few_samples_has_no_symbol_rate():
    samples = np.exp(2j * np.pi * np.random.default_rng(1).uniform(size=512)).astype(np.complex64)
    assert estimate_symbol_rate(samples, 1e-3).rate is None
