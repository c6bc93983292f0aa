# SPDX-License-Identifier: GPL-3.0-or-later
"""The carrier of GNU Radio's and liquid-dsp's signals, and that what has none gets none."""

import numpy as np
import pytest
from gnuradio.amc.bands import Band
from gnuradio.amc.carrier import estimate_carrier
from gnuradio.amc.conditioning import tuned
from gnuradio.amc.signals import Wanted, find_signals

from tests.helpers import modulators

SYMBOLS = 2048
DIGITAL = (
    "OOK",
    "4ASK",
    "8ASK",
    "BPSK",
    "QPSK",
    "8PSK",
    "16PSK",
    "32PSK",
    "16APSK",
    "32QAM",
    "64QAM",
    "256QAM",
    "GMSK",
)


def received(name, offset, snr_db=15, roll_off=0.35, seed=5):
    """8 samples per symbol, ``offset`` in cycles per symbol."""
    return modulators.received(name, 8, 8 * SYMBOLS, seed, snr_db, offset / 8, roll_off)


@pytest.mark.parametrize("offset", [-0.011, 0.0004, 0.008])
@pytest.mark.parametrize("name", DIGITAL)
def test_carriers_to_a_hundredth_of_a_turn_in_a_window(name, offset):
    for roll_off in (0.2, 0.35, 0.5):
        found = estimate_carrier(received(name, offset, roll_off=roll_off))
        # The largest constellations may hide their carrier, but never show another.
        assert found is None and name in ("32PSK", "256QAM") or abs(found - offset) * 128 < 0.01


@pytest.mark.parametrize("name", ["QPSK", "8PSK", "16QAM"])
def test_carriers_in_noise(name):
    """Es/N0 of 9 dB."""
    assert estimate_carrier(received(name, 0.003, snr_db=0)) == pytest.approx(0.003, abs=1e-4)


def test_a_clock_that_is_off_does_not_hide_a_carrier():
    samples = received("QPSK", 0.005)
    times = np.arange(len(samples)) * (1 + 2e-4)
    late = np.interp(times, np.arange(len(samples)), samples)
    assert estimate_carrier(late.astype(np.complex64)) == pytest.approx(0.005, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "offset"), [("BPSK", 0.18), ("OOK", -0.15), ("QPSK", 0.09), ("64QAM", -0.08), ("8PSK", 0.04)]
)
def test_carriers_far_from_the_middle_of_their_band(name, offset):
    """As where a receiver's filter has taken a part of the band."""
    assert estimate_carrier(received(name, offset)) == pytest.approx(offset, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_sound_have_no_carrier(seed):
    assert estimate_carrier(modulators.received("noise", 8, 8 * SYMBOLS, seed, 0)) is None
    assert estimate_carrier(modulators.received("FM", 8, 8 * SYMBOLS, seed, 15)) is None


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(8 * 200), np.full(8 * SYMBOLS, np.nan)], ids=str)
def test_nothing_is_found_in_nothing(samples):
    assert estimate_carrier(samples.astype(np.complex64)) is None


def test_without_a_symbol_rate_a_band_is_not_tuned():
    assert tuned(received("QPSK", 0.0), Band(0.0, 0.15, 0.0, 20.0), None) is None


@pytest.mark.parametrize("name", ["BPSK", "16PSK", "64QAM"])
@pytest.mark.parametrize("spacing", [4, 6, 12])
def test_signals_are_found_at_their_carrier_and_symbol_rate(name, spacing):
    (found,) = find_signals(modulators.received(name, spacing, 1 << 15, spacing, 15, 0.0137), Wanted(signals=1))
    assert found.is_tuned
    assert found.symbol_rate * spacing == pytest.approx(1, abs=2e-5)
    assert abs(found.band.centre - 0.0137) * spacing * 128 < 0.01


def test_a_wanted_centre_stays_as_it_is():
    samples = modulators.received("QPSK", 8, 1 << 15, 1, 15, 0.001)
    (found,) = find_signals(samples, Wanted(centre=0.0, signals=1))
    assert found.band.centre == 0.0
    assert not found.is_tuned
