# SPDX-License-Identifier: GPL-3.0-or-later
"""The conditioner: what the filter passes and when, whatever the pieces; and what is planned for a band."""

import numpy as np
import pytest
from gnuradio.amc import AmcError
from gnuradio.amc.conditioning import Conditioner, Plan, make_plan
from hypothesis import given, settings
from hypothesis import strategies as st


def tone(frequency, count, phase=0.0):
    return np.exp(2j * np.pi * (frequency * np.arange(count) + phase)).astype(np.complex64)


def conditioned(plan, samples):
    conditioner = Conditioner(plan)
    return np.concatenate((conditioner.push(samples), conditioner.finish()))


PLANS = [Plan(0.1, 0.2, 8, 5), Plan(-0.3, 0.02, 3, 25), Plan(0.0, 0.5, 11, 4), Plan(0.2, 0.001, 1, 150)]


@pytest.mark.parametrize("plan", PLANS)
def test_output_belongs_to_the_input_at_the_same_time(plan):
    """A tone in the band comes out as the formula has it at those times: no delay, no loss, at any ratio."""
    offset, count = 0.3 * plan.bandwidth, 120_000
    out = conditioned(plan, tone(plan.centre + offset, count))
    times = np.arange(len(out)) * plan.decimation / plan.interpolation
    assert len(out) == -(-count * plan.interpolation // plan.decimation)
    settled = (times > 10_000) & (times < count - 10_000)
    np.testing.assert_allclose(out[settled], np.exp(2j * np.pi * offset * times[settled]), atol=2e-3)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.bandwidth < 0.4])
def test_what_is_beside_the_band_is_taken_away(plan):
    out = conditioned(plan, tone(plan.centre + 1.1 * plan.bandwidth, 120_000))
    settled = out[len(out) // 8 : -len(out) // 8]
    assert np.abs(settled).max() < 2e-3


@settings(max_examples=20)
@given(st.sampled_from(PLANS), st.lists(st.integers(0, 9000), min_size=1, max_size=12), st.integers(0, 11))
def test_the_division_of_the_stream_does_not_matter(plan, lengths, tuned):
    rng = np.random.default_rng(1)
    samples = rng.standard_normal((sum(lengths), 2)).astype(np.float32).view(np.complex64).ravel()
    change = sum(lengths[:tuned])
    whole = Conditioner(plan)
    expected = [whole.push(samples[:change])]
    whole.tune(plan.centre + 0.01)
    expected += [whole.push(samples[change:]), whole.finish()]
    divided, out, begin = Conditioner(plan), [], 0
    for number, length in enumerate(lengths):
        if number == tuned:
            divided.tune(plan.centre + 0.01)
        out.append(divided.push(samples[begin : begin + length]))
        begin += length
    out.append(divided.finish())
    np.testing.assert_array_equal(np.concatenate(out), np.concatenate(expected))


def test_tuning_makes_no_jump_of_the_phase():
    plan = Plan(0.1, 0.05, 1, 4)
    conditioner = Conditioner(plan)
    samples = tone(0.1, 40_000)
    parts = [conditioner.push(samples[:20_000])]
    conditioner.tune(0.102)
    parts += [conditioner.push(samples[20_000:]), conditioner.finish()]
    frequency = np.angle(np.concatenate(parts)[500:-500] * np.conj(np.concatenate(parts)[499:-501])) / (2 * np.pi) / 4
    assert frequency[:4000] == pytest.approx(0, abs=1e-5)
    assert frequency[-4000:] == pytest.approx(-0.002, abs=1e-5)
    assert frequency.min() > -0.0023 and frequency.max() < 0.0003


@pytest.mark.parametrize(
    ("samples_per_symbol", "expected"), [((8, 8), 8), ((2, 16), 8), ((2, 4), 4), ((10, 16), 10), ((4.5, 4.5), 4.5)]
)
@pytest.mark.parametrize("symbol_rate", [0.7, 0.2, 1200 / 48000, 9570 / 48000, 1e-4])
def test_the_samples_per_symbol_of_the_model_nearest_to_8_are_aimed_at(samples_per_symbol, expected, symbol_rate):
    plan = make_plan(0.1, min(1.35 * symbol_rate, 0.9), symbol_rate, samples_per_symbol)
    assert float(plan.ratio) / symbol_rate == pytest.approx(expected, rel=2e-3)


def test_without_a_symbol_rate_a_linear_modulation_is_assumed():
    """Root raised cosine of roll-off 0.35: 99 % of the power lie within 1.17 symbol rates, by numerical integration."""
    frequency = np.linspace(0, 0.675, 100_001)
    density = np.where(frequency < 0.325, 1, np.cos(np.pi / 0.7 * np.clip(frequency - 0.325, 0, 0.35)) ** 2)
    power = np.cumsum(density) / density.sum()
    occupied = 2 * frequency[np.searchsorted(power, 0.99)]
    assert float(make_plan(0.0, occupied * 0.01).ratio) == pytest.approx(0.08, rel=5e-3)


@pytest.mark.parametrize(
    ("centre", "bandwidth", "rate"), [(0.6, 0.1, None), (0, 1e-5, None), (0, 1.1, None), (0, 0.1, 0), (0, 0.1, 1.5)]
)
def test_an_impossible_band_is_one_sentence(centre, bandwidth, rate):
    with pytest.raises(AmcError, match=r"cycles per sample.*must be") as caught:
        make_plan(centre, bandwidth, rate)
    assert "\n" not in str(caught.value)
