# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signal is on which output, look after look; what a look finds is given in place of samples."""

import numpy as np
import pytest
from gnuradio.amc import conditioning, signal_tracker
from gnuradio.amc.bands import Band
from gnuradio.amc.signal_tracker import Settings, SignalTracker
from gnuradio.amc.symbol_rate import SymbolRate

SAMPLES = np.zeros(1, np.complex64)
NONE = SymbolRate(None, 0.1)
ESTIMATED = Settings()


@pytest.fixture
def look(monkeypatch):
    """Looks with a tracker of two outputs at given bands, (centre, bandwidth), the strongest first."""
    tracker = SignalTracker(2, (8, 8))

    def look(*bands, rate=NONE, settings=ESTIMATED):
        found = [Band(*band, power=-float(number), snr=10.0) for number, band in enumerate(bands)]
        monkeypatch.setattr(signal_tracker, "find_bands", lambda samples: found)
        monkeypatch.setattr(signal_tracker, "measure_symbol_rate", lambda samples, band: rate)
        return tracker.look(SAMPLES, settings)

    look.tracker = tracker
    return look


def places(signals):
    return [signal and signal.band.centre for signal in signals]


A, B, C = (0.1, 0.02), (-0.2, 0.01), (0.4, 0.05)


def test_the_strongest_come_first_and_the_rest_waits(look):
    assert places(look(C, A, B)) == [0.4, 0.1]
    assert places(look(B, C, A)) == [0.4, 0.1]
    assert places(look(B, C)) == [0.4, -0.2]


def test_a_signal_has_its_output_again(look):
    look(A, B)
    assert places(look(B)) == [None, -0.2]
    assert places(look()) == [None, None]
    assert places(look(C)) == [0.4, None]
    assert places(look(B, C)) == [0.4, -0.2]


def test_what_was_before_can_be_forgotten(look):
    look(A, B)
    look.tracker.forget()
    assert places(look(B, A)) == [-0.2, 0.1]


def test_the_plan_stays_while_the_signal_does(look):
    (first, _) = look(A)
    (second, _) = look((0.101, 0.023))
    assert second.plan is first.plan
    assert second.band.centre == 0.101
    (moved, _) = look((0.103, 0.02))  # by a hundredth of the output's sample rate, 8 * 0.02 / 1.17, and more
    assert moved.plan.centre == 0.103
    (wider, _) = look((0.103, 0.03))
    assert wider.plan.bandwidth == 0.03


def test_a_symbol_rate_is_measured_until_two_looks_agree(look):
    rates = [0.017, 0.015, None, 0.01503, 0.018]
    seen = [look(A, rate=SymbolRate(rate, 0.99 if rate else 0.1))[0] for rate in rates]
    assert [signal.symbol_rate.rate for signal in seen] == [0.017, 0.015, 0.015, 0.015, 0.015]
    assert [signal.rate_is_settled for signal in seen] == [False, False, False, True, True]
    assert seen[1].plan is not seen[0].plan
    assert seen[1].plan is seen[2].plan is seen[3].plan is seen[4].plan


def test_settings_win(look):
    (signal, _) = look(A, rate=SymbolRate(0.01, 1.0), settings=Settings(symbol_rate=0.02))
    assert signal.symbol_rate == SymbolRate(0.02, 1.0)
    look.tracker.forget()
    assert places(look(A, B, settings=Settings(centre=-0.199))) == [-0.199, None]
    look.tracker.forget()
    assert places(look(A, settings=Settings(centre=-0.199))) == [None, None]
    assert places(look(A, settings=Settings(centre=-0.199, bandwidth=0.1))) == [-0.199, None]
    assert places(look(A, settings=Settings(centre=0.6, bandwidth=0.1))) == [None, None]


@pytest.mark.parametrize(("rate", "centre"), [(0.004, 0.105), (None, 0.1)])
def test_a_digital_signal_stands_for_the_passband_around_it(look, monkeypatch, rate, centre):
    monkeypatch.setattr(conditioning, "find_core", lambda samples, band: Band(0.105, 0.005, -3.0, 10.0))
    (signal, _) = look(A, rate=SymbolRate(rate, 0.99 if rate else 0.1))
    assert signal.band.centre == signal.plan.centre == centre
