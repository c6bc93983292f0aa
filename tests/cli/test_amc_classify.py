# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what it prints against the pipeline itself, what it refuses, what it leaves behind."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest
from gnuradio.amc import AmcError, Pipeline, cli, load_model, recordings
from gnuradio.amc.cli import main
from gnuradio.amc.readers import open_recording
from gnuradio.amc.report import to_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.tiny_models import DEFAULT_CLASSES, write_failing_model, write_model

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(REPOSITORY / "gr-amc" / "apps" / "amc_classify")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def levels(*means, length=1024, seed=0):
    """Samples whose label is known: each mean of I holds for ``length`` samples; 0 is LOW, 0.5 MIDDLE, 1 HIGH."""
    rng = np.random.default_rng(seed)
    samples = np.repeat(np.array(means, complex), length)
    samples += 0.05 * (rng.standard_normal(len(samples)) + 1j * rng.standard_normal(len(samples)))
    return samples.astype(np.complex64)


MEANS = (0, 0, 1, 0.5, 0.5, 1, 0)
LABELS = ["LOW", "LOW", "HIGH", "MIDDLE", "MIDDLE", "HIGH", "LOW"]


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def run(*arguments):
    """Exit code, for a call that must not raise anything."""
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments, code=1):
    """The one sentence that a failing call says, without the program's name."""
    assert run(*arguments) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("amc_classify: ")]
    assert len(said) == 1
    return said[0].removeprefix("amc_classify: ")


# --- what is printed ------------------------------------------------------------------------------


def test_json_lines_are_what_the_pipeline_says(tmp_path, model, capsys):
    samples = levels(*MEANS)
    samples.tofile(tmp_path / "a.cf32")
    options = {"hop": 300, "average": 3, "threshold": 0.9, "squelch": -20.0}
    assert (
        run(tmp_path / "a.cf32", "--model", model, "--output", "json", *(f"--{k}={v}" for k, v in options.items())) == 0
    )
    opened = load_model(model)
    expected = [to_json(result, opened.classes) for result in Pipeline(opened, **options).push(samples)]
    assert len(expected) > 5
    assert json_lines(capsys.readouterr().out) == expected


def test_json_of_a_known_recording(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--output", "json") == 0
    lines = json_lines(capsys.readouterr().out)
    assert [line["label"] for line in lines] == LABELS
    assert [line["sample_start"] for line in lines] == [1024 * n for n in range(7)]
    for line in lines:
        assert set(line) == {"sample_start", "sample_count", "label", "confidence", "probabilities", "power_dbfs"}
        assert line["sample_count"] == 1024
        assert list(line["probabilities"]) == list(DEFAULT_CLASSES)
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert line["confidence"] == max(line["probabilities"].values()) > 0.99


def write_sigmf(path, samples, captures, **fields):
    samples.tofile(path.with_suffix(".sigmf-data"))
    information = {"core:datatype": "cf32_le", "core:version": "1.2.0", **fields}
    path.write_text(json.dumps({"global": information, "captures": captures, "annotations": []}))
    return path


def test_no_window_spans_two_captures_and_each_has_its_time_and_frequency(tmp_path, model, capsys):
    captures = [
        {"core:sample_start": 0, "core:frequency": 1e6, "core:datetime": "2024-01-01T00:00:00Z"},
        {"core:sample_start": 2500, "core:frequency": 2e6, "core:datetime": "2024-01-01T01:00:00.5Z"},
    ]
    samples = levels(0, 1, 0.5, 0, 1)[:4600]
    meta = write_sigmf(tmp_path / "a.sigmf-meta", samples, captures, **{"core:sample_rate": 1024})
    assert run(meta, "--model", model, "--output", "json") == 0
    lines = json_lines(capsys.readouterr().out)
    assert [(line["sample_start"], line["frequency"], line["time"]) for line in lines] == [
        (0, 1e6, "2024-01-01T00:00:00.000000Z"),
        (1024, 1e6, "2024-01-01T00:00:01.000000Z"),
        (2500, 2e6, "2024-01-01T01:00:00.500000Z"),
        (3524, 2e6, "2024-01-01T01:00:01.500000Z"),
    ]


@pytest.mark.parametrize("year", ["0001-01-01", "0476-09-04", "9999-12-30"])
def test_years_have_four_digits(tmp_path, model, capsys, year):
    captures = [{"core:sample_start": 0, "core:datetime": f"{year}T01:00:00.25+01:00"}]
    meta = write_sigmf(tmp_path / "a.sigmf-meta", levels(0), captures)
    assert run(meta, "--model", model, "--output", "json") == 0
    assert [line["time"] for line in json_lines(capsys.readouterr().out)] == [f"{year}T00:00:00.250000Z"]


def test_csv_holds_the_same_as_json(tmp_path, model, capsys):
    captures = [{"core:sample_start": 0, "core:frequency": 1e6, "core:datetime": "2024-01-01T00:00:00Z"}]
    meta = write_sigmf(tmp_path / "a.sigmf-meta", levels(*MEANS), captures, **{"core:sample_rate": 48000})
    assert run(meta, "--model", model, "--output", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert run(meta, "--model", model, "--output", "json") == 0
    lines = json_lines(capsys.readouterr().out)
    assert len(rows) == len(lines) == 7
    for row, line in zip(rows, lines, strict=True):
        for key in ("sample_start", "sample_count", "time", "frequency", "label"):
            assert row[key] == str(line[key])
        assert float(row["confidence"]) == line["confidence"]
        assert float(row["power_dbfs"]) == line["power_dbfs"]
        assert {name: float(row[f"probability {name}"]) for name in DEFAULT_CLASSES} == line["probabilities"]


def test_the_table_has_a_row_a_window(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a_1ksps.cf32")
    assert run(tmp_path / "a_1ksps.cf32", "--model", model) == 0
    printed = capsys.readouterr()
    head, *rows = printed.out.splitlines()
    assert head.split() == ["sample", "seconds", "label", "confidence", "power/dBFS"]
    assert [row.split()[:3] for row in rows] == [
        [str(1024 * n), f"{1.024 * n:.6f}", label] for n, label in enumerate(LABELS)
    ]
    assert "7 windows, 0 ignored" in printed.err
    assert "LOW 42.9 %, HIGH 28.6 %, MIDDLE 28.6 %" in printed.err
    assert "sample rate from its name" in printed.err


def test_columns_of_the_table_stay_apart_in_a_long_recording(tmp_path, model, capsys):
    levels(1, 1).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--sample-rate", "0.001") == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["1024", "1024000.000000", "HIGH"]


def test_several_recordings_are_told_apart(tmp_path, model, capsys):
    paths = [tmp_path / "a.cf32", tmp_path / "b.cf32"]
    levels(0, 0).tofile(paths[0])
    levels(1).tofile(paths[1])
    assert run(*paths, "--model", model, "--output", "json") == 0
    said = [(line["file"], line["label"]) for line in json_lines(capsys.readouterr().out)]
    assert said == [(str(paths[0]), "LOW"), (str(paths[0]), "LOW"), (str(paths[1]), "HIGH")]
    assert run(*paths, "--model", model, "--output", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["file"], row["label"]) for row in rows] == said
    assert run(*paths, "--model", model) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")] == [f"# {p}" for p in paths]


def test_windows_that_cannot_be_classified_are_counted(tmp_path, model, capsys):
    samples = levels(1, 1, 1, 1, 1, 1)
    samples[5] = np.nan
    samples[1030] = np.inf
    samples[2048:3072] = 0
    samples[3072:4096] *= 1e-3
    samples.tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--squelch", "-40", "--output", "json") == 0
    printed = capsys.readouterr()
    assert [line["sample_start"] for line in json_lines(printed.out)] == [4096, 5120]
    assert "2 windows, 4 ignored (silent, below the squelch, or with samples that are no finite number)" in printed.err


def left_over(text):
    found = re.search(r"(\d+) samples? left over that filled no window", text)
    return int(found[1]) if found else 0


def test_samples_that_fill_no_window_are_counted(tmp_path, model, capsys):
    captures = [{"core:sample_start": 500 * n} for n in range(11)]
    meta = write_sigmf(tmp_path / "a.sigmf-meta", levels(0, length=5000 + 2048), captures)
    assert run(meta, "--model", model) == 0
    said = capsys.readouterr().err
    assert "2 windows, 0 ignored, 5000 samples left over that filled no window, " in said


@given(count=st.integers(1024, 5000), hop=st.integers(100, 3000))
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
def test_what_is_left_over_is_what_no_window_holds(tmp_path_factory, model, capsys, count, hop):
    path = tmp_path_factory.mktemp("left") / "a.cf32"
    levels(*MEANS)[:count].tofile(path)
    assert run(path, "--model", model, "--hop", hop) == 0
    last = range(0, count - 1023, hop)[-1]
    # A hop above the window skips samples as it was asked to, at the end too.
    assert left_over(capsys.readouterr().err) == len(range(last + max(hop, 1024), count))


def test_all_silence_is_no_fault(tmp_path, model, capsys):
    np.zeros(5000, np.complex64).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", "--plot", tmp_path / "a.png") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "0 windows, 4 ignored" in printed.err


def test_the_threshold_makes_unknown(tmp_path, model, capsys):
    levels(0.25, 0.75, 1).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--threshold", "0.99", "--output", "json") == 0
    assert [line["label"] for line in json_lines(capsys.readouterr().out)] == ["unknown", "unknown", "HIGH"]


def test_options_say_what_a_model_does_not(tmp_path, capsys):
    """A model without metadata, its window open, and options: the same answer as with the metadata."""
    samples = 3 * levels(1, 0.5, 0, 1, length=512)
    samples.tofile(tmp_path / "a.cf32")
    said = {"classes": ("LOW", "MID", "HIGH"), "window": 512, "normalise": "unit_power", "temperature": 4.0}
    described = write_model(tmp_path / "described.onnx", **said)
    foreign = onnx.load(described)
    del foreign.metadata_props[:]
    foreign.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "L"
    onnx.save(foreign, tmp_path / "foreign.onnx")
    assert run(tmp_path / "a.cf32", "--model", described, "--output", "json") == 0
    expected = json_lines(capsys.readouterr().out)
    assert [line["sample_count"] for line in expected] == [512] * 4
    options = ("--classes", "LOW, MID,HIGH", "--window=512", "--normalise=unit_power", "--temperature=4")
    assert run(tmp_path / "a.cf32", "--model", tmp_path / "foreign.onnx", "--output", "json", *options) == 0
    assert json_lines(capsys.readouterr().out) == expected


def test_the_temperature_given_is_the_one_that_counts(tmp_path, model, capsys):
    levels(0.78).tofile(tmp_path / "a.cf32")

    def odds(*options):
        assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", *options) == 0
        probabilities = json_lines(capsys.readouterr().out)[0]["probabilities"]
        return np.log(probabilities["HIGH"] / probabilities["MIDDLE"])

    assert odds("--temperature", "0.5") == pytest.approx(2 * odds(), abs=1e-3)


@given(block=st.integers(1, 9000), hop=st.integers(1, 3000), cut=st.integers(1024, 7168))
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
def test_the_size_of_blocks_does_not_change_results(tmp_path_factory, model, monkeypatch, block, hop, cut):
    folder = tmp_path_factory.mktemp("block")
    samples = levels(*MEANS)[:cut]
    samples.tofile(folder / "a.cf32")
    arguments = ("--model", model, "--output", "json", "--average", "2", "--hop", max(hop, 20))

    def replay(size):
        with monkeypatch.context() as patch:
            whole = recordings.Recording.blocks
            patch.setattr(recordings.Recording, "blocks", lambda self, segment: whole(self, segment, size))
            assert run(folder / "a.cf32", *arguments, "--out", folder / "a.json") == 0
        return json_lines((folder / "a.json").read_text())

    expected, got = replay(1 << 18), replay(block)
    assert [line["sample_start"] for line in expected] == list(range(0, cut - 1023, max(hop, 20)))
    for one, other in zip(expected, got, strict=True):
        assert (one["sample_start"], one["label"]) == (other["sample_start"], other["label"])
        # Inference in other batches may round otherwise.
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-5)


@pytest.mark.parametrize("name", ["ao73", "kr01", "picsat_9k6"])
def test_real_recordings_are_replayed_whole(shared, tmp_path, model, capsys, name):
    path = shared / "recordings" / f"{name}.wav"
    with wave.open(str(path)) as file:
        count, rate = file.getnframes(), file.getframerate()
    assert run(path, "--model", model, "--squelch", "-1000", "--output", "csv", "--plot", tmp_path / "a.png") == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(printed.out.splitlines()))
    windows, ignored = map(int, re.search(r"(\d+) windows, (\d+) ignored", printed.err).groups())
    assert windows + ignored == count // 1024
    assert len(rows) == windows > 0
    assert f"ri16_le, {rate} samples/s, {count} samples" in printed.err


def test_the_released_model_runs_by_default(shared, capsys):
    try:
        opened = load_model()
    except AmcError as error:
        pytest.skip(f"there is no released model yet: {error}")
    assert run(shared / "recordings" / "kr01.wav", "--output", "json") == 0
    lines = json_lines(capsys.readouterr().out)
    assert lines and {line["label"] for line in lines} <= {*opened.classes, "unknown"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "FILE"),
        (["a.cf32", "--hop", "0"], "--hop: '0'"),
        (["a.cf32", "--hop", "-1"], "--hop"),
        (["a.cf32", "--hop", str((1 << 31) + 1)], "from 1 to 2147483648"),
        (["a.cf32", "--hop", "1.5"], "--hop"),
        (["a.cf32", "--hop", "9" * 5000], "--hop"),
        (["a.cf32", "--average", "0"], "--average"),
        (["a.cf32", "--threshold", "-0.01"], "--threshold"),
        (["a.cf32", "--threshold", "1.01"], "--threshold"),
        (["a.cf32", "--threshold", "nan"], "--threshold"),
        (["a.cf32", "--squelch", "loud"], "--squelch"),
        (["a.cf32", "--squelch", "nan"], "--squelch"),
        (["a.cf32", "--sample-rate", "0"], "--sample-rate"),
        (["a.cf32", "--sample-rate", "fast"], "--sample-rate"),
        (["a.cf32", "--frequency", "inf"], "--frequency"),
        (["a.cf32", "--format", "mp3"], "'mp3' is unknown"),
        (["a.cf32", "--runtime", "gpu"], "--runtime"),
        (["a.cf32", "--threads", "0"], "--threads"),
        (["a.cf32", "--classes", ""], "--classes: '' is not a list of names"),
        (["a.cf32", "--classes", "A,,B"], "--classes"),
        (["a.cf32", "--window", "0"], "--window: '0'"),
        (["a.cf32", "--window", str((1 << 20) + 1)], "from 1 to 1048576"),
        (["a.cf32", "--normalise", "loud"], "--normalise"),
        (["a.cf32", "--temperature", "0"], "--temperature: '0'"),
        (["a.cf32", "--temperature", "-1"], "--temperature"),
        (["a.cf32", "--temperature", "nan"], "--temperature"),
        (["a.cf32", "--output", "xml"], "--output"),
        (["a.cf32", "--out", ""], "--out"),
        (["a.cf32", "--plot", "-"], "--plot"),
        (["a.cf32", "b.cf32", "--plot", "a.png"], "--plot"),
        (["a.cf32", "b.cf32", "--output", "sigmf", "--out", "a.sigmf-meta"], "--out"),
        (["a.cf32", "--output", "sigmf", "--out", "a.json"], ".sigmf-meta"),
        (["a.cf32", "--unheard-of"], "--unheard-of"),
    ],
)
def test_wrong_usage_gets_a_sentence(capsys, arguments, said):
    assert said in refused(capsys, *arguments, code=2)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--hop", 1),
        ("--hop", 1 << 31),
        ("--threshold", 0),
        ("--threshold", 1),
        ("--average", 65536),
        ("--squelch", -1000),
    ],
)
def test_the_edges_of_what_is_allowed(tmp_path, model, option, text):
    levels(0, 1).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, option, text, "--out", tmp_path / "a.txt") == 0


def test_numbers_may_have_a_unit_prefix(tmp_path, model, capsys):
    levels(0).tofile(tmp_path / "a.cf32")
    known = ("--sample-rate", "2.4M", "--frequency", "433.92M")
    assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", *known) == 0
    printed = capsys.readouterr()
    assert json_lines(printed.out)[0]["frequency"] == 433.92e6
    assert "2400000 samples/s" in printed.err


@pytest.mark.parametrize("text", ["-50k", "-.05M", "-5e4", "-50000"])
def test_a_frequency_may_be_negative(tmp_path, model, capsys, text):
    levels(0).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", "--frequency", text) == 0
    assert json_lines(capsys.readouterr().out)[0]["frequency"] == -50e3


def test_help_and_version(capsys):
    assert run("--help") == 0
    assert "--squelch" in capsys.readouterr().out
    assert run("--version") == 0
    said = capsys.readouterr().out
    for name, pattern in (
        ("CMakeLists.txt", r"project\(gr-amc VERSION (\S+)"),
        ("MANIFEST.yml", r"(?m)^version: (\S+)"),
    ):
        assert said == f"amc_classify {re.search(pattern, (REPOSITORY / name).read_text())[1]}\n"


def test_a_bad_recording_gets_a_sentence(tmp_path, model, capsys):
    (tmp_path / "empty.cf32").touch()
    assert "holds no samples" in refused(capsys, tmp_path / "empty.cf32", "--model", model)
    (tmp_path / "odd.cs16").write_bytes(bytes(4097))
    assert "4097 bytes" in refused(capsys, tmp_path / "odd.cs16", "--model", model)
    assert "is a folder" in refused(capsys, tmp_path, "--model", model)
    assert "there is no file" in refused(capsys, tmp_path / "none.wav", "--model", model)


def test_a_recording_needs_a_whole_window(tmp_path, model, capsys):
    levels(0)[:1023].tofile(tmp_path / "short.cf32")
    assert "at most 1023 samples without a gap" in refused(capsys, tmp_path / "short.cf32", "--model", model)
    levels(0)[:1024].tofile(tmp_path / "just.cf32")
    assert run(tmp_path / "just.cf32", "--model", model) == 0
    captures = [{"core:sample_start": 1000 * n} for n in range(3)]
    meta = write_sigmf(tmp_path / "a.sigmf-meta", levels(0, 0, 0)[:3000], captures)
    assert "at most 1000 samples without a gap" in refused(capsys, meta, "--model", model)


def test_a_bad_model_gets_a_sentence(tmp_path, capsys):
    levels(0).tofile(tmp_path / "a.cf32")
    for name in ("none", "x" * 256):
        assert f"no released model '{name}'" in refused(capsys, tmp_path / "a.cf32", "--model", name)
    (tmp_path / "text.onnx").write_text("not a model")
    assert "not a valid ONNX file" in refused(capsys, tmp_path / "a.cf32", "--model", tmp_path / "text.onnx")
    known = ("--model", write_model(tmp_path / "m.onnx", metadata={}))
    assert "no class list" in refused(capsys, tmp_path / "a.cf32", *known)
    assert "3 outputs but 2 class names" in refused(capsys, tmp_path / "a.cf32", *known, "--classes", "A,B")
    assert "must be distinct printable names" in refused(capsys, tmp_path / "a.cf32", *known, "--classes", "A,B,A")
    said = refused(capsys, tmp_path / "a.cf32", *known, "--classes", "A,B,C", "--window", "512")
    assert "the window is 512 samples but the model" in said


def test_an_inference_that_fails_in_mid_stream_gets_a_sentence_and_leaves_nothing(tmp_path, capsys):
    model = write_failing_model(tmp_path / "f.onnx")
    samples = levels(*MEANS)
    samples[1024 * 5] = 101
    (tmp_path / "in").mkdir()
    samples.tofile(tmp_path / "in" / "a.cf32")
    outputs = ("--out", tmp_path / "in" / "a.json", "--plot", tmp_path / "in" / "a.png")
    assert "failed in inference" in refused(
        capsys, tmp_path / "in" / "a.cf32", "--model", model, "--output", "json", *outputs
    )
    assert os.listdir(tmp_path / "in") == ["a.cf32"]


def test_one_bad_recording_of_several_stops_before_any_work(tmp_path, model, capsys):
    levels(0).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", tmp_path / "none.cf32", "--model", model) == 1
    assert capsys.readouterr().out == ""


# --- what is left behind --------------------------------------------------------------------------


def test_outputs_take_their_name_when_they_are_whole(tmp_path, model):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    (tmp_path / "a.json").write_text("what was there before")
    assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", "--out", tmp_path / "a.json") == 0
    assert len(json_lines((tmp_path / "a.json").read_text())) == 7
    assert sorted(os.listdir(tmp_path)) == ["a.cf32", "a.json"]


def test_a_recording_is_never_overwritten(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    before = (tmp_path / "a.cf32").read_bytes()
    (tmp_path / "link").symlink_to("a.cf32")
    for option in ("--out", "--plot"):
        for name in ("a.cf32", "link"):
            said = refused(capsys, tmp_path / "a.cf32", "--model", model, option, tmp_path / name)
            assert "never overwritten" in said
    meta = write_sigmf(tmp_path / "b.sigmf-meta", levels(0), [])
    text = meta.read_text()
    assert "never overwritten" in refused(capsys, meta, "--model", model, "--output", "sigmf", "--out", meta)
    assert "both be" in refused(
        capsys, tmp_path / "a.cf32", "--model", model, "--out", tmp_path / "x", "--plot", tmp_path / "x"
    )
    assert (tmp_path / "a.cf32").read_bytes() == before
    assert meta.read_text() == text


def test_one_file_by_two_names_is_not_two_outputs(tmp_path, model, capsys, monkeypatch):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("../x.png")
    monkeypatch.chdir(tmp_path)
    for plot in ("./x.png", tmp_path / "x.png", "sub/link", "sub/../x.png"):
        said = refused(capsys, "a.cf32", "--model", model, "--output", "csv", "--out", "x.png", "--plot", plot)
        assert "both be" in said
    (tmp_path / "same.cf32").symlink_to("a.cf32")
    (tmp_path / "sub" / "a.cf32").symlink_to("../a.cf32")
    (tmp_path / "other").symlink_to(".")
    said = refused(capsys, "a.cf32", "other/a.cf32", "--model", model, "--output", "sigmf")
    assert "both be" in said
    assert run("a.cf32", "same.cf32", "--model", model, "--output", "sigmf") == 0


def test_an_output_that_cannot_be_written_gets_a_sentence(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    for option in ("--out", "--plot"):
        for path, reason in (
            (tmp_path / "none" / "x", "No such file"),
            (tmp_path, "folder"),
            (tmp_path / ("x" * 256), "name too long"),
            ("/dev/full", "No space left"),
        ):
            said = refused(capsys, tmp_path / "a.cf32", "--model", model, option, path)
            assert f"{path} cannot be written" in said and reason in said
    assert os.listdir(tmp_path) == ["a.cf32"]


def test_an_output_may_be_a_pipe_without_a_name(tmp_path, model):
    """As the shell's >(command) gives it, and /dev/stdout before a |."""
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    reader, writer = os.pipe()
    with open(reader) as pipe:
        assert run(tmp_path / "a.cf32", "--model", model, "--output", "json", "--out", f"/dev/fd/{writer}") == 0
        os.close(writer)
        assert [line["label"] for line in json_lines(pipe.read())] == LABELS


def test_an_output_may_have_the_longest_name_there_is(tmp_path, model):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    name = 85 * "\N{CJK UNIFIED IDEOGRAPH-6F22}"  # 255 bytes
    assert run(tmp_path / "a.cf32", "--model", model, "--out", tmp_path / name) == 0
    assert sorted(os.listdir(tmp_path)) == ["a.cf32", name]


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long_1Msps.cf32"
    levels(*MEANS, length=40000).tofile(path)
    return path


@pytest.mark.parametrize("output", ["json", "csv", "table", "sigmf", "plot"])
def test_a_full_disk_gets_a_sentence_and_leaves_nothing(tmp_path, model, long_recording, output):
    link = tmp_path / "a.cf32"
    link.symlink_to(long_recording)
    name = "a.png" if output == "plot" else "a.sigmf-meta" if output == "sigmf" else "a.out"
    kind = ["--plot"] if output == "plot" else ["--output", output, "--out"]
    # Every window its own annotation, so that the file grows.
    done = subprocess.run(
        [*PROGRAM, str(link), "--model", model, "--hop", "2048", *kind, str(tmp_path / name)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        text=True,
    )
    assert done.returncode == 1
    assert f"amc_classify: {tmp_path / name} cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert os.listdir(tmp_path) == ["a.cf32"]


def test_a_full_standard_output_gets_a_sentence(model, long_recording):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, long_recording, "--model", model], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("amc_classify: standard output cannot be written: No space left")
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("jobs", [(), ("--output-dir", "out", "--jobs", "2")])
def test_closed_streams_do_not_end_the_work(tmp_path, model, jobs):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    result = "out/a.cf32.jsonl" if jobs else "a.jsonl"
    how = [*PROGRAM, "a.cf32", "--model", model, "--output", "json", *(jobs or ("--out", result))]
    assert subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *how], cwd=tmp_path).returncode == 0
    assert len(json_lines((tmp_path / result).read_text())) == 7


def test_a_closed_standard_output_gets_a_sentence(tmp_path, model):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    how = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "a.cf32", "--model", model]
    done = subprocess.run(how, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("amc_classify: standard output cannot be written: Bad file desc")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet(model, long_recording):
    with subprocess.Popen(
        [*PROGRAM, str(long_recording), "--model", model, "--hop", "16"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 141
    assert len(said.splitlines()) == 1 and "long_1Msps.cf32: cf32_le" in said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_says_so_and_leaves_nothing(tmp_path, model, stop):
    # Long enough to be interrupted by anyone: 4 GiB of which nothing is on the disk.
    with open(tmp_path / "a.cf32", "wb") as file:
        file.truncate(4 << 30)
    output = ["--output", "sigmf", "--out", str(tmp_path / "a.sigmf-meta"), "--plot", str(tmp_path / "a.png")]
    with subprocess.Popen(
        [*PROGRAM, str(tmp_path / "a.cf32"), "--model", model, "--hop", "1", *output], stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()  # the introduction: the work begins
        process.send_signal(stop)
        said = process.stderr.read()
    assert process.returncode == 128 + stop
    assert said == "amc_classify: interrupted.\n"
    assert os.listdir(tmp_path) == ["a.cf32"]


def test_the_program_itself(tmp_path, model):
    name = os.fsdecode(b"\xff label.cf32")
    levels(*MEANS).tofile(tmp_path / name)
    done = subprocess.run(
        [*PROGRAM, name, name, "--model", model, "--output", "json"], cwd=tmp_path, capture_output=True, check=True
    )
    assert [line["label"] for line in json_lines(done.stdout.decode())] == LABELS * 2
    assert b"Traceback" not in done.stderr


def test_gnu_radio_itself_is_not_loaded():
    code = "import sys; from gnuradio.amc import cli; print({'gnuradio.gr', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"set()\n"


PEAK = """
import resource, sys
from gnuradio.amc.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.hard_timeout(900)
def test_memory_does_not_grow_with_the_recording(tmp_path, model):
    """2 GiB against 32 MiB, of which only the beginning is not zero (a hole in the file takes no disk)."""

    def peak(size):
        path = tmp_path / f"a{size}.cf32"
        levels(*MEANS).tofile(path)
        os.truncate(path, size)
        outputs = ["--output", "sigmf", "--out", str(tmp_path / "b.sigmf-meta"), "--plot", str(tmp_path / "b.png")]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path), "--model", model, *outputs],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return int(done.stdout.splitlines()[-1])

    assert peak(2 << 30) < peak(32 << 20) + (64 << 20)


# --- progress -------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_when_it_takes_long(tmp_path, monkeypatch, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    clock = iter([0.0, 0.5, 2.0, 2.1, 3.0, 4.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    progress = cli._Progress(open_recording(tmp_path / "a.cf32"), True)
    for _ in range(4):
        progress.advance(1792)
    assert progress.end() == 4.0
    shown = capsys.readouterr().err.split("\r")
    assert shown[1] == "a.cf32 [###############...............]  50% 0.00 Msps, 2 s left"
    assert shown[2].startswith("a.cf32 [##############################] 100%")
    assert shown[3].strip() == shown[4] == ""


def test_progress_is_silent_elsewhere(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    assert run(tmp_path / "a.cf32", "--model", model) == 0
    assert "\r" not in capsys.readouterr().err
