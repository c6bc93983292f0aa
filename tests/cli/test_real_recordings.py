# SPDX-License-Identifier: GPL-3.0-or-later
"""Real passes of satellites, beside the checkout: what the conditioner makes of them is a BPSK signal.

The receiver of this file is its own: it uses nothing of the package but the conditioned samples.
"""

import json

import numpy as np
import pytest
from gnuradio.amc.cli import main
from gnuradio.amc.conditioning import Conditioner, make_plan
from gnuradio.amc.readers import open_recording
from gnuradio.amc.signals import Wanted, find_signals

from tests.helpers.linear_signals import white_noise
from tests.helpers.tiny_models import write_model

# Symbols per second, and seconds between which the signal is there all the time.
PASSES = {"ao73": (1200, 1.0, 4.5), "kr01": (1200, 3.3, 5.1), "picsat_9k6": (9600, 0.6, 2.1)}


@pytest.fixture(params=PASSES)
def satellite(request, shared):
    path = shared / "recordings" / f"{request.param}.wav"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path, *PASSES[request.param]


def samples_of(recording, begin, end):
    samples = np.concatenate(list(recording.blocks(recording.segments[0])))
    return samples[int(begin * recording.sample_rate) : int(end * recording.sample_rate)]


def squared_line(samples, padding=1):
    """The line that the squares of BPSK have: its height over the median, half its frequency, half its phase."""
    count = padding * len(samples)
    spectrum = np.fft.fft(samples**2 * np.hanning(len(samples)), count)
    place = int(np.argmax(np.abs(spectrum)))
    contrast = np.abs(spectrum[place]) ** 2 / np.median(np.abs(spectrum) ** 2)
    return contrast, np.fft.fftfreq(count)[place] / 2, np.angle(spectrum[place]) / 2


def clusters(signal, samples_per_symbol=8, symbols_at_once=48):
    """Mean squares of BPSK symbols along and across their axis: a matched filter, then clock and carrier, piecewise, as
    the satellite's Doppler shift goes on changing.
    """
    _, carrier, _ = squared_line(signal)
    signal = signal * np.exp(-2j * np.pi * carrier * np.arange(len(signal)))
    signal = np.convolve(signal, np.hanning(2 * samples_per_symbol + 1)[1:-1], "same")
    along = across = 0.0
    pieces = len(signal) // (symbols_at_once * samples_per_symbol)
    for piece in np.array_split(signal[: pieces * symbols_at_once * samples_per_symbol], pieces):
        phases = piece.reshape(symbols_at_once, samples_per_symbol)
        symbols = phases[:, np.argmax((np.abs(phases) ** 2).mean(axis=0))]
        _, offset, phase = squared_line(symbols, padding=16)
        symbols = symbols * np.exp(-1j * (2 * np.pi * offset * np.arange(symbols_at_once) + phase))
        along += np.mean(symbols.real**2)
        across += np.mean(symbols.imag**2)
    return along, across


def test_the_signal_is_found_and_made_bpsk_at_8_samples_a_symbol(satellite):
    path, symbol_rate, begin, end = satellite
    recording = open_recording(path)
    samples = samples_of(recording, begin, end)
    half = int(0.5 * recording.sample_rate)
    found = [
        find_signals(samples[start : start + half], Wanted(), lowest=0.0)[0]
        for start in range(0, len(samples) - half + 1, half)
    ]
    rates = np.array([signal.symbol_rate for signal in found]) * recording.sample_rate
    assert rates == pytest.approx(symbol_rate, rel=0.01)
    plan = make_plan(found[0].band.centre, found[0].band.bandwidth, found[0].symbol_rate)
    assert float(plan.ratio) * recording.sample_rate / symbol_rate == pytest.approx(8, rel=0.01)
    conditioner = Conditioner(plan)
    signal = np.concatenate((conditioner.push(samples), conditioner.finish()))
    contrast, _, _ = squared_line(signal)
    assert contrast > 1000  # 30 dB
    along, across = clusters(signal)
    assert across < 0.15 * along


def test_noise_would_not_pass_for_bpsk():
    along, across = clusters(white_noise(14_400, 1.0, seed=1))
    assert across > 0.4 * along


def test_the_command_line_follows_it_through_the_pass(satellite, tmp_path, capsys):
    path, symbol_rate, begin, end = satellite
    model = write_model(tmp_path / "tiny.onnx", sample_per_symbol="2..16")
    assert main([str(path), "--model", str(model), "--condition", "--signals", "1", "--output", "json"]) == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    length = 128 / symbol_rate
    inside = [item for item in lines if begin <= item["sample_start"] / 48e3 < end - length]
    assert {round(item["sample_count"] / 48e3 / length, 1) for item in inside} == {1.0}
    # All of the time but for a window on either side, and for gaps in the transmission.
    assert len(inside) * length > 0.85 * (end - begin - 2 * length)
    for item in inside:
        assert symbol_rate < item["bandwidth"] < 2 * symbol_rate


@pytest.mark.parametrize("name", PASSES)
def test_most_windows_of_a_pass_are_named_bpsk(shared, capsys, name):
    path = shared / "recordings" / f"{name}.wav"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert main([str(path), "--condition", "--output", "json"]) == 0
    labels = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert labels.count("BPSK") > len(labels) / 2
