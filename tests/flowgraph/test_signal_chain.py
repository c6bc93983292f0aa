# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio's filters and resampler around one stretch: what passes, when, and that pieces do not matter."""

import threading
import time

import numpy as np
import pytest
from gnuradio.amc.conditioning import Plan
from gnuradio.amc.signal_chain import SignalChain

from tests.helpers.flowgraphs import eventually

PLANS = [
    Plan(0.123, 0.02, 4, 27), Plan(-0.31, 0.002, 1, 75), Plan(0.45, 0.1, 5, 7), Plan(0.0, 0.4, 27, 10),
    Plan(-0.2, 0.01, 9, 10),
]  # fmt: skip
COUNT = 60_001


def conditioned(plan, samples, lengths=(COUNT,)):
    chain = SignalChain(plan, threading.RLock(), lambda: None, lambda: None)
    chain.start()
    begin, number = 0, 0
    while begin < len(samples):
        chain.put(samples[begin : begin + lengths[number % len(lengths)]])
        begin += lengths[number % len(lengths)]
        number += 1
        if number % 7 == 0:
            time.sleep(0.002)  # so that the blocks see some pieces on their own
    chain.end()
    assert eventually(lambda: chain.ended)
    chain.close()
    assert not chain.failed
    out = np.empty(chain.ready, np.complex64)
    assert chain.take(out) == len(out)
    return out


def tone(frequency):
    return np.exp(2j * np.pi * frequency * np.arange(COUNT)).astype(np.complex64)


@pytest.mark.parametrize("plan", PLANS)
def test_output_belongs_to_the_input_at_the_same_time(plan):
    """The number of samples, and where a pulse in the band comes out."""
    ratio = plan.interpolation / plan.decimation
    at, width = 30_000, 2 / plan.bandwidth
    times = np.arange(COUNT) - at
    pulse = (tone(plan.centre) * np.exp(-((times / width) ** 2) / 2)).astype(np.complex64)
    out = conditioned(plan, pulse)
    assert len(out) == int(COUNT * ratio)
    power = np.abs(out) ** 2
    assert np.sum(power * np.arange(len(out))) / np.sum(power) == pytest.approx(at * ratio, abs=0.52)


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_in_the_band_passes_and_what_is_beside_it_does_not(plan):
    for offset, low, high in ((0.0, 0.99, 1.01), (0.4, 0.99, 1.01), (1.1, 0.0, 3e-3), (-1.3, 0.0, 3e-3)):
        frequency = plan.centre + offset * plan.bandwidth
        if abs(offset * plan.bandwidth) > 0.5:
            continue
        out = conditioned(plan, tone(frequency))
        level = np.abs(out[len(out) // 8 : -len(out) // 8])
        assert low <= level.min() and level.max() <= high, offset
        if high > 1:
            turn = np.angle(np.mean(out[1:] * np.conj(out[:-1]))) / (2 * np.pi)
            ratio = plan.interpolation / plan.decimation
            assert turn * ratio == pytest.approx(offset * plan.bandwidth, abs=2e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_the_pieces_do_not_matter(plan):
    noise = np.random.default_rng(1).standard_normal((COUNT, 2)).astype(np.float32).view(np.complex64).ravel()
    whole = conditioned(plan, noise)
    for lengths in ([997], [1, 5003, 13], [30_000, 1]):
        np.testing.assert_array_equal(conditioned(plan, noise, lengths), whole)
