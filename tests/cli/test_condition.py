# SPDX-License-Identifier: GPL-3.0-or-later
"""amc_classify --condition: the signals of a capture are found, followed and said where and when they are."""

import csv
import json

import numpy as np
import pytest
from gnuradio.amc import load_model
from gnuradio.amc.cli import main
from gnuradio.amc.readers import open_recording
from gnuradio.amc.signals import SignalReplay, Wanted

from tests.helpers.linear_signals import linear_signal, white_noise
from tests.helpers.tiny_models import write_model

RATE = 200e3
TUNING = 433e6
# Frequency from the centre in Hz, symbols per second, from and to in seconds, power over the noise in all of the band.
SIGNALS = ((-50e3, 10e3, 0.0, 2.0, 0.0), (30e3, 5e3, 0.5, 1.5, -3.0), (70e3, 2.5e3, 0.0, 2.0, -8.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", sample_per_symbol="2..16"))


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Three QPSK signals in white noise, one of which is there for a part of the time."""
    count = int(2 * RATE)
    samples = white_noise(count, 1.0, seed=1)
    for number, (offset, symbol_rate, begin, end, power) in enumerate(SIGNALS):
        first, last = int(begin * RATE), int(end * RATE)
        signal = linear_signal("qpsk", 4, last - first, symbol_rate / RATE, seed=number)
        times = np.arange(first, last)
        samples[first:last] += 10 ** (power / 20) * signal * np.exp(2j * np.pi * offset / RATE * times)
    path = tmp_path_factory.mktemp("capture") / "three.sigmf-meta"
    (0.05 * samples).astype(np.complex64).tofile(path.with_suffix(".sigmf-data"))
    known = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": RATE}
    start = {"core:sample_start": 0, "core:frequency": TUNING, "core:datetime": "2024-01-01T00:00:00Z"}
    path.write_text(json.dumps({"global": known, "captures": [start], "annotations": []}))
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def json_lines(capsys, *arguments):
    assert run(*arguments, "--output", "json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys, *arguments, code=1):
    assert run(*arguments) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("amc_classify: ")]
    assert len(said) == 1
    return said[0].removeprefix("amc_classify: ")


def of_signal(lines, offset):
    return [line for line in lines if abs(line["frequency"] - TUNING - offset) < 1e3]


def test_each_signal_has_its_windows_where_it_is(capture, model, capsys):
    lines = json_lines(capsys, capture, "--model", model, "--condition")
    assert sum(len(of_signal(lines, offset)) for offset, *_ in SIGNALS) == len(lines)
    assert [line["sample_start"] for line in lines] == sorted(line["sample_start"] for line in lines)
    for offset, symbol_rate, begin, end, _ in SIGNALS:
        found = of_signal(lines, offset)
        # A window is 1024 samples at 8 a symbol; all of the signal's time is covered but for its two ends.
        length = 128 * RATE / symbol_rate
        assert {round(line["sample_count"] / length, 2) for line in found} == {1.0}
        starts = np.array([line["sample_start"] for line in found])
        assert np.diff(starts) == pytest.approx(length, rel=2e-3)
        assert begin * RATE - 2 * length < starts[0] < begin * RATE + 2 * length
        assert end * RATE - 3 * length < starts[-1] + length < end * RATE + 2 * length
        for line in found:
            assert line["bandwidth"] == pytest.approx(1.17 * symbol_rate, rel=0.1)
            edges = line["frequency_lower_edge"], line["frequency_upper_edge"]
            assert edges == pytest.approx(
                (line["frequency"] - line["bandwidth"] / 2, line["frequency"] + line["bandwidth"] / 2)
            )
            whole, fraction = divmod(line["sample_start"] / RATE, 1)
            assert line["time"] == f"2024-01-01T00:00:{int(whole):02d}.{round(fraction * 1e6):06d}Z"


def test_the_division_into_blocks_does_not_matter(capture, model):
    recording = open_recording(capture)
    (segment,) = recording.segments
    opened = load_model(model)

    def results(size):
        replay = SignalReplay(recording, opened, Wanted(), hop=None, average=3, threshold=0.5, squelch=-100.0)
        replay.begin(segment)
        said = [item for samples in recording.blocks(segment, size) for item in replay.push(samples)]
        said += replay.finish()
        return [(item.sample_start, item.label, item.confidence, item.frequency, item.bandwidth) for item in said]

    assert results(1 << 18) == results(12_345)


def test_csv_and_table_tell_the_band(capture, model, capsys):
    lines = json_lines(capsys, capture, "--model", model, "--condition")
    assert run(capture, "--model", model, "--condition", "--output", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert run(capture, "--model", model, "--condition") == 0
    head, *table = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["frequency/Hz", "bandwidth/Hz"]
    assert len(rows) == len(table) == len(lines) > 20
    for row, shown, line in zip(rows, table, lines, strict=True):
        for name in ("sample_start", "frequency", "bandwidth", "frequency_lower_edge", "frequency_upper_edge", "label"):
            assert row[name] == str(line[name])
        assert [int(text) for text in shown.split()[-2:]] == [round(line["frequency"]), round(line["bandwidth"])]


def test_annotations_are_one_for_each_signal(capture, model, tmp_path, capsys):
    out = tmp_path / "a.sigmf-meta"
    assert run(capture, "--model", model, "--condition", "--output", "sigmf", "--out", out, "--threshold", 0) == 0
    annotations = json.loads(out.read_text())["annotations"]
    starts = [item["core:sample_start"] for item in annotations]
    assert starts == sorted(starts)
    for offset, symbol_rate, begin, end, _ in SIGNALS:
        own = [
            item
            for item in annotations
            if abs((item["core:freq_lower_edge"] + item["core:freq_upper_edge"]) / 2 - TUNING - offset) < 1e3
        ]
        width = own[0]["core:freq_upper_edge"] - own[0]["core:freq_lower_edge"]
        assert width == pytest.approx(1.17 * symbol_rate, rel=0.1)
        covered = sum(item["core:sample_count"] for item in own)
        assert covered == pytest.approx((end - begin) * RATE, rel=0.15)


def test_without_a_sample_rate_there_are_no_frequencies(capture, model, tmp_path, capsys):
    path = tmp_path / "a.cf32"
    path.write_bytes(capture.with_suffix(".sigmf-data").read_bytes())
    lines = json_lines(capsys, path, "--model", model, "--condition")
    assert len(lines) > 20
    assert not any({"frequency", "bandwidth", "time"} & set(line) for line in lines)
    assert run(path, "--model", model, "--condition") == 0
    assert "frequency" not in capsys.readouterr().out
    assert run(path, "--model", model, "--condition", "--output", "csv") == 0
    for row in csv.DictReader(capsys.readouterr().out.splitlines()):
        assert row["bandwidth"] == row["frequency_lower_edge"] == row["frequency_upper_edge"] == ""
        assert row["label"] and None not in row


def test_archives_and_pictures_take_it_as_well(capture, model, tmp_path, capsys):
    lines = json_lines(capsys, capture, "--model", model, "--condition", "--plot", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    known = ("--model", model, "--output", "json", "--output-dir", tmp_path)
    assert run(capture, *known, "--condition") == 0
    written = (tmp_path / "three.sigmf-meta.jsonl").read_text()
    assert [json.loads(line) for line in written.splitlines()] == lines
    # Another setting is another result.
    assert run(capture, *known, "--signals", 1) == 0
    assert len((tmp_path / "three.sigmf-meta.jsonl").read_text()) < len(written)


def test_noise_has_no_rows(model, tmp_path, capsys):
    white_noise(300_000, 0.01, seed=3).tofile(tmp_path / "noise_1Msps.cf32")
    assert run(tmp_path / "noise_1Msps.cf32", "--model", model, "--condition", "--output", "json") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "0 windows, 0 ignored, 0 signals" in printed.err


# --- what the user knows ---------------------------------------------------------------------------


def test_the_strongest_signals_are_chosen(capture, model, capsys):
    lines = json_lines(capsys, capture, "--model", model, "--signals", 1)
    assert len(of_signal(lines, -50e3)) == len(lines) > 10


def test_a_centre_chooses_its_signal(capture, model, capsys):
    lines = json_lines(capsys, capture, "--model", model, "--centre", TUNING + 30.2e3)
    assert {line["frequency"] for line in lines} == {TUNING + 30.2e3}
    assert 0.4 * RATE < lines[0]["sample_start"] < 0.6 * RATE


def test_a_band_and_a_symbol_rate_that_are_given_are_taken(capture, model, capsys):
    given = ("--centre", TUNING - 50e3, "--bandwidth", 12e3, "--symbol-rate", 20e3)
    lines = json_lines(capsys, capture, "--model", model, *given)
    assert {(line["frequency"], line["bandwidth"]) for line in lines} == {(TUNING - 50e3, 12e3)}
    # 1024 samples at 8 a symbol of the rate given.
    assert {line["sample_count"] for line in lines} == {1280}
    assert len(lines) == int(2 * RATE / 1280)


def test_the_model_says_how_many_samples_a_symbol_has(capture, model, capsys):
    known = ("--model", model, "--centre", TUNING - 50e3, "--samples-per-symbol", "2..4")
    lines = json_lines(capsys, capture, *known)
    assert {round(line["sample_count"] * 10e3 / RATE) for line in lines} == {256}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--centre", "100M"), "the band wanted at 100000000 Hz is not within"),
        (("--centre", "433.095M", "--bandwidth", "12k"), "which reaches from 432900000 to 433100000 Hz"),
        (("--bandwidth", "300k"), "the bandwidth of 300000 Hz does not go with the 200000 samples/s"),
        (("--bandwidth", "15"), "give one from 20 to 200000 Hz"),
        (("--symbol-rate", "300k"), "the symbol rate of 300000 Hz does not go with"),
        (("--condition", "--samples-per-symbol", "few"), "samples per symbol of model"),
    ],
)
def test_what_a_recording_cannot_have_is_one_sentence(capture, model, capsys, options, sentence):
    assert sentence in refused(capsys, capture, "--model", model, *options)


def test_hertz_need_a_sample_rate(model, tmp_path, capsys):
    white_noise(20_000, 1.0, seed=3).tofile(tmp_path / "a.cf32")
    for option in ("--centre", "--bandwidth", "--symbol-rate"):
        assert "does not tell its sample rate" in refused(capsys, tmp_path / "a.cf32", "--model", model, option, 1000)


def test_a_recording_that_is_too_short_is_one_sentence(model, tmp_path, capsys):
    white_noise(1500, 1.0, seed=3).tofile(tmp_path / "a.cf32")
    assert "finding signals needs 1536" in refused(capsys, tmp_path / "a.cf32", "--model", model, "--condition")


@pytest.mark.parametrize("options", [("--centre", 1e3, "--signals", 2), ("--samples-per-symbol", 4)])
def test_options_that_contradict_each_other_are_wrong_usage(capture, model, capsys, options):
    assert "leave --signals away" in (said := refused(capsys, capture, *options, code=2)) or "--condition" in said
