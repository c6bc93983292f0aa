# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF annotations: valid for the sigmf package, visible to inspectrum, and never in the way of what was there."""

import io
import json
import os
import tarfile
import warnings
import wave

import numpy as np
import pytest
import sigmf
from gnuradio.amc.annotate import AnnotationWriter, check_annotatable, signal_detail
from gnuradio.amc.cli import main
from gnuradio.amc.readers import open_recording
from gnuradio.amc.report import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigmf import validate

from tests.helpers.tiny_models import write_model

MEANS = (0, 0, 1, 0.5, 0.5, 1, 0)
RUNS = [(0, 2048, "LOW"), (2048, 1024, "HIGH"), (3072, 2048, "MIDDLE"), (5120, 1024, "HIGH"), (6144, 1024, "LOW")]
CLASSES = (
    "OOK 4ASK 8ASK BPSK QPSK 8PSK 16PSK 32PSK 16APSK 32APSK 64APSK 128APSK 16QAM 32QAM 64QAM 128QAM 256QAM "
    "AM-SSB-WC AM-SSB-SC AM-DSB-WC AM-DSB-SC FM GMSK OQPSK"
).split()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def levels(*means, length=1024):
    rng = np.random.default_rng(0)
    samples = np.repeat(np.array(means, complex), length)
    samples += 0.05 * (rng.standard_normal(len(samples)) + 1j * rng.standard_normal(len(samples)))
    return samples.astype(np.complex64)


def annotate(path, model, *arguments):
    """The metadata that a call writes, after the sigmf package has found them valid."""
    assert main([str(path), "--model", model, "--output", "sigmf", *map(str, arguments)]) == 0
    written = path.with_name(path.name.rsplit(".", 1)[0] + ".amc.sigmf-meta")
    if "--out" in arguments:
        written = arguments[arguments.index("--out") + 1]
    metadata = json.loads(written.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an extension that is used and not declared is only a warning
        validate.validate(metadata)
    return written, metadata


def open_with_sigmf(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says when core:dataset and NAME.sigmf-data are both there
        opened = sigmf.fromfile(str(path))
        opened.validate()
    return opened


def runs(metadata):
    return [(a["core:sample_start"], a["core:sample_count"], a["core:label"]) for a in metadata["annotations"]]


def test_a_raw_recording_is_annotated_in_place(tmp_path, model, capsys):
    samples = levels(*MEANS)
    samples.tofile(tmp_path / "a_48k_145.8MHz.cf32")
    written, metadata = annotate(tmp_path / "a_48k_145.8MHz.cf32", model)
    assert capsys.readouterr().out == f"{written}\n"
    assert runs(metadata) == RUNS
    for annotation in metadata["annotations"]:
        assert annotation["core:freq_lower_edge"] == 145.8e6 - 24e3
        assert annotation["core:freq_upper_edge"] == 145.8e6 + 24e3
        assert annotation["core:generator"] == "gr-amc"
        assert annotation["core:comment"].startswith(f"{annotation['core:label']}: confidence 1.00 over ")
    assert metadata["annotations"][0]["core:comment"] == "LOW: confidence 1.00 over 2 windows, 1.00 at least"
    assert metadata["global"]["core:dataset"] == "a_48k_145.8MHz.cf32"
    np.testing.assert_array_equal(open_with_sigmf(written).read_samples(), samples)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a_48k_145.8MHz.cf32", np.complex64), samples)


def test_inspectrum_finds_samples_and_boxes(tmp_path, model):
    """As inspectrum's inputsource.cpp opens a file: by name alone, with few number formats, and edges at RF."""
    captures = [{"core:sample_start": 0, "core:frequency": 7e6, "core:datetime": "2024-01-01T00:00:00Z"}]
    information = {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": 48000}
    levels(*MEANS).tofile(tmp_path / "a.sigmf-data")
    (tmp_path / "a.sigmf-meta").write_text(json.dumps({"global": information, "captures": captures, "annotations": []}))
    written, metadata = annotate(tmp_path / "a.sigmf-meta", model)
    assert metadata["global"]["core:datatype"] in ("cf32_le", "ci32_le", "ci16_le", "ci8", "cu8", "rf32_le", "ri16_le")
    found = written.with_suffix(".sigmf-data")
    np.testing.assert_array_equal(np.fromfile(found, np.complex64), levels(*MEANS))
    for annotation in metadata["annotations"]:
        offset = annotation["core:freq_lower_edge"] - metadata["captures"][0]["core:frequency"]
        assert offset == -24000
    assert metadata["captures"][0]["core:datetime"].endswith("Z")
    assert json.loads((tmp_path / "a.sigmf-meta").read_text())["annotations"] == []


def test_a_wav_recording_is_annotated_in_place(tmp_path, model):
    numbers = np.round(levels(*MEANS).view(np.float32) * 20000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(numbers.tobytes())
    with open(tmp_path / "a.wav", "ab") as file:
        file.write(b"LIST\4\0\0\0INFO")
    written, metadata = annotate(tmp_path / "a.wav", model)
    assert metadata["global"]["core:trailing_bytes"] == 12
    assert metadata["captures"][0]["core:header_bytes"] == 44
    assert not written.with_suffix(".sigmf-data").exists()
    np.testing.assert_array_equal(sigmf_numbers(written), numbers)


def sigmf_numbers(path):
    opened = open_with_sigmf(path)
    opened.autoscale = False
    return np.asarray(opened.read_samples()).view(np.float32)


def test_a_real_recording_reaches_from_its_frequency_up(tmp_path, model):
    numbers = np.round(20000 * np.cos(0.5 * np.arange(5000))).astype("<i2")
    numbers.tofile(tmp_path / "a_48k.bin")
    _, metadata = annotate(tmp_path / "a_48k.bin", model, "--format", "ri16_le")
    (annotation,) = metadata["annotations"]
    assert (annotation["core:freq_lower_edge"], annotation["core:freq_upper_edge"]) == (0, 24000)


def test_an_archive_is_annotated_in_place(tmp_path, model):
    samples = levels(*MEANS)
    captures = [{"core:sample_start": 0}, {"core:sample_start": 3072, "core:frequency": 5.0}]
    information = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sha512": "0" * 128}
    meta = json.dumps({"global": information, "captures": captures, "annotations": []}).encode()
    with tarfile.open(tmp_path / "a.sigmf", "w") as archive:
        for name, content in (("a/a.sigmf-data", samples.tobytes()), ("a/a.sigmf-meta", meta)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    written, metadata = annotate(tmp_path / "a.sigmf", model)
    assert metadata["global"]["core:dataset"] == "a.sigmf"
    assert "core:sha512" not in metadata["global"]
    # Read back by this program's own reader, which is tested for itself.
    again = open_recording(written)
    assert [(s.sample_start, s.sample_count, s.frequency) for s in again.segments] == [
        (0, 3072, None),
        (3072, 4096, 5.0),
    ]
    np.testing.assert_array_equal(np.concatenate([b for s in again.segments for b in again.blocks(s)]), samples)


def test_what_was_said_already_is_kept(tmp_path, model):
    others = [
        {"core:sample_start": 6000, "core:label": "later", "core:sample_count": 5},
        {"core:sample_start": 0, "core:label": "first", "lab:note": [1]},
        {"core:sample_start": 2048, "core:label": "old", "core:generator": "gr-amc"},
    ]
    information = {
        "core:datatype": "cf32_le",
        "core:version": "1.0.0",
        "core:author": "someone",
        "core:extensions": [{"name": "lab", "version": "0.1.0", "optional": True}],
        "lab:room": 3,
    }
    levels(*MEANS).tofile(tmp_path / "a.sigmf-data")
    metadata = {"global": information, "captures": [{"core:sample_start": 0, "lab:gain": 2}], "annotations": others}
    (tmp_path / "a.sigmf-meta").write_text(json.dumps(metadata))
    _, metadata = annotate(tmp_path / "a.sigmf-meta", model, "--sample-rate", "1000", "--frequency", "5000")
    labels = [a["core:label"] for a in metadata["annotations"]]
    assert labels == ["first", "LOW", "HIGH", "MIDDLE", "HIGH", "later", "LOW"]
    assert metadata["annotations"][0] == others[1]
    assert metadata["global"]["core:author"] == "someone" and metadata["global"]["lab:room"] == 3
    assert [e["name"] for e in metadata["global"]["core:extensions"]] == ["lab", "signal"]
    assert metadata["captures"] == [{"core:sample_start": 0, "lab:gain": 2, "core:frequency": 5000.0}]


def test_the_same_call_twice_gives_the_same(tmp_path, model):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    written, _ = annotate(tmp_path / "a.cf32", model)
    first = written.read_bytes()
    annotate(tmp_path / "a.cf32", model)
    assert written.read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == ["a.amc.sigmf-data", "a.amc.sigmf-meta", "a.cf32"]


def test_windows_merge_only_where_they_touch(tmp_path, model):
    samples = levels(1, 1, 1, 1, 1, 1)
    samples[2048:3072] = 0
    samples.tofile(tmp_path / "a.sigmf-data")
    captures = [{"core:sample_start": 0}, {"core:sample_start": 4096}]
    information = {"core:datatype": "cf32_le", "core:version": "1.0.0"}
    (tmp_path / "a.sigmf-meta").write_text(json.dumps({"global": information, "captures": captures, "annotations": []}))
    _, metadata = annotate(tmp_path / "a.sigmf-meta", model)
    assert runs(metadata) == [(0, 2048, "HIGH"), (3072, 1024, "HIGH"), (4096, 2048, "HIGH")]
    _, metadata = annotate(tmp_path / "a.sigmf-meta", model, "--hop", 512)
    assert runs(metadata)[0] == (0, 2560, "HIGH") or runs(metadata)[0] == (0, 2048, "HIGH")
    _, metadata = annotate(tmp_path / "a.sigmf-meta", model, "--hop", 1025)
    assert all(count == 1024 for _, count, _ in runs(metadata))


def test_annotations_elsewhere_link_the_samples(tmp_path, model):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    levels(*MEANS).tofile(tmp_path / "in" / "a.cf32")
    written, metadata = annotate(tmp_path / "in" / "a.cf32", model, "--out", tmp_path / "out" / "b.sigmf-meta")
    assert "core:dataset" not in metadata["global"]
    np.testing.assert_array_equal(open_with_sigmf(written).read_samples(), levels(*MEANS))
    assert os.listdir(tmp_path / "in") == ["a.cf32"]


def test_a_dataset_that_is_there_is_not_replaced_by_a_link(tmp_path, model):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    (tmp_path / "a.amc.sigmf-data").write_bytes(b"mine")
    written, _ = annotate(tmp_path / "a.cf32", model)
    assert (tmp_path / "a.amc.sigmf-data").read_bytes() == b"mine"
    np.testing.assert_array_equal(open_with_sigmf(written).read_samples(), levels(*MEANS))


def test_annotations_go_to_standard_output_when_asked(tmp_path, model, capsys):
    levels(*MEANS).tofile(tmp_path / "a.cf32")
    assert main([str(tmp_path / "a.cf32"), "--model", model, "--output", "sigmf", "--out", "-"]) == 0
    assert runs(json.loads(capsys.readouterr().out)) == RUNS
    assert os.listdir(tmp_path) == ["a.cf32"]


def test_samples_that_sigmf_cannot_name_get_a_sentence(tmp_path, model, capsys):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(48000)
        file.writeframes(bytes(6 * 2000))
    arguments = ["--model", model, "--output", "sigmf"]
    assert main([str(tmp_path / "a.wav"), *arguments]) == 1
    assert "24-bit" in capsys.readouterr().err
    with wave.open(str(tmp_path / "b.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(bytes(4 * 2000))
    (tmp_path / "sub").mkdir()
    assert main([str(tmp_path / "b.wav"), *arguments, "--out", str(tmp_path / "sub" / "b.sigmf-meta")]) == 1
    assert "must lie in its folder" in capsys.readouterr().err
    meta = {"global": {"core:datatype": "cf32_le", "core:version": "1.2.0"}, "captures": [], "annotations": []}
    with tarfile.open(tmp_path / "c.sigmf.gz", "w:gz") as archive:
        for name, content in (("c.sigmf-meta", json.dumps(meta).encode()), ("c.sigmf-data", levels(1, 1).tobytes())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert main([str(tmp_path / "c.sigmf.gz"), *arguments]) == 1
    assert "extract the archive" in capsys.readouterr().err
    levels(1, 1).tofile(tmp_path / "d.cf32")
    levels(1, 1).tofile(tmp_path / "d.cs16")
    assert main([str(tmp_path / "d.cf32"), str(tmp_path / "d.cs16"), *arguments]) == 1
    assert "both be" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav", "c.sigmf.gz", "d.cf32", "d.cs16", "sub"]


# The words that the canonical extension allows: https://github.com/sigmf/SigMF, extensions/signal-schema.json.
SIGNAL_WORDS = {
    "type": {"analog", "digital"},
    "mod_class": set("am fm pm ssb dsb vsb ask fsk psk qam ook cpm msk".split()),
    "carrier_variant": {"with_carrier", "suppressed_carrier", "reduced_carrier", "single_carrier", "multi_carrier"},
    "symbol_variant": {"differential", "offset"},
}


@pytest.mark.parametrize("label", CLASSES)
def test_every_class_has_a_signal_detail_in_the_words_of_the_extension(label):
    detail = signal_detail(label)
    assert detail["type"] == ("analog" if label == "FM" or label.startswith("AM") else "digital")
    for key, value in detail.items():
        if key in SIGNAL_WORDS:
            assert value in SIGNAL_WORDS[key]
        else:
            assert key in ("order", "class_variant")
    if label[0].isdigit():
        assert str(detail["order"]) + (detail.get("mod_class") or detail["class_variant"]).upper() == label
    assert "mod_class" in detail or "APSK" in label


def test_other_labels_have_no_signal_detail():
    for label in ("unknown", "noise", "QAM", "16qam", "99999PSK", ""):
        assert signal_detail(label) is None


def test_signal_details_are_written_and_long_labels_cut(tmp_path, capsys):
    names = ["16QAM", "unknown thing with a very long name", "FM"]
    model = str(write_model(tmp_path / "m.onnx", classes=names))
    levels(0, 0.5, 1).tofile(tmp_path / "a.cf32")
    _, metadata = annotate(tmp_path / "a.cf32", model)
    first, second, third = metadata["annotations"]
    assert first["signal:detail"] == {"type": "digital", "mod_class": "qam", "order": 16}
    assert second["core:label"] == names[1][:20] and names[1] in second["core:comment"]
    assert "signal:detail" not in second
    assert third["signal:detail"] == {"type": "analog", "mod_class": "fm"}


def test_ten_thousand_annotations_are_written_as_they_come(tmp_path):
    np.zeros(20_000_000, np.int8).tofile(tmp_path / "a.cs8")
    recording = open_recording(tmp_path / "a.cs8")
    (segment,) = recording.segments
    file = io.StringIO()
    writer = AnnotationWriter(file, recording, check_annotatable(recording, None))
    lengths = []
    for number in range(10_000):
        label = ("BPSK", "QPSK")[number % 2]
        writer.add(Result(label, 0.5, np.array([0.5, 0.5], np.float32), number * 1000, 1000, -1.0), segment)
        lengths.append(file.tell())
    # Nothing but the window that may still grow is held back.
    assert max(np.diff(lengths)) < 400 and lengths[-1] > 9_999 * 100
    writer.finish()
    metadata = json.loads(file.getvalue())
    assert runs(metadata) == [(1000 * n, 1000, ("BPSK", "QPSK")[n % 2]) for n in range(10_000)]


SCALARS = st.none() | st.booleans() | st.integers(-5, 5000) | st.floats() | st.text(max_size=6)
FIELDS = ["datatype", "sample_rate", "version", "extensions", "dataset", "sample_start", "sample_count", "frequency"]
FIELDS += ["datetime", "header_bytes", "generator", "label", "offset", "sha512"]
OBJECTS = st.dictionaries(
    st.sampled_from([f"core:{name}" for name in FIELDS]),
    SCALARS | st.lists(SCALARS | st.dictionaries(st.just("name"), SCALARS), max_size=2),
    max_size=3,
)


@given(information=OBJECTS, captures=st.lists(OBJECTS, max_size=2), annotations=st.lists(OBJECTS, max_size=2))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_any_metadata_are_annotated_or_refused(tmp_path_factory, model, information, captures, annotations):
    folder = tmp_path_factory.mktemp("fuzz")
    levels(*MEANS).tofile(folder / "a.sigmf-data")
    metadata = {
        "global": {"core:datatype": "cf32_le", **information},
        "captures": [{"core:sample_start": 0, **item} for item in captures],
        "annotations": [{"core:sample_start": 0, **item} for item in annotations],
    }
    (folder / "a.sigmf-meta").write_text(json.dumps(metadata))
    code = main([str(folder / "a.sigmf-meta"), "--model", model, "--output", "sigmf"])
    written = folder / "a.amc.sigmf-meta"
    assert (code == 0) == written.exists()
    if code == 0:
        assert json.loads(written.read_text())["annotations"]
    else:
        assert code == 1
