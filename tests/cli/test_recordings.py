# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers against files written by other means: numpy, the wave module, the sigmf package, and bytes by hand."""

import contextlib
import io
import json
import os
import struct
import tarfile
import wave

import numpy as np
import pytest
import sigmf
from gnuradio.amc.errors import AmcError
from gnuradio.amc.readers import open_recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ANY_TIME = settings(deadline=None, suppress_health_check=list(HealthCheck))


def read(path, size=1 << 18, **known):
    recording = open_recording(path, **known)
    return np.concatenate([b for segment in recording.segments for b in recording.blocks(segment, size)])


def sentence(path, **known):
    with pytest.raises(AmcError) as caught:
        read(path, **known)
    text = str(caught.value)
    assert text.endswith((".", "again")) and "\n" not in text, text
    return text


def write_meta(path, datatype="cf32_le", captures=None, annotations=(), **fields):
    information = {"core:datatype": datatype, "core:version": "1.2.0", **fields}
    if captures is None:
        captures = [{"core:sample_start": 0}]
    path.write_text(json.dumps({"global": information, "captures": captures, "annotations": list(annotations)}))
    return path


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) + 1j * rng.standard_normal(count)).astype(np.complex64)


# --- raw and SigMF number formats -----------------------------------------------------------------

# What is stored, and the numbers that mean 0 and 1, by the conventions of the programs that write them.
STORED = {
    "f32": ("f4", 0, 1),
    "f64": ("f8", 0, 1),
    "i8": ("i1", 0, 127),
    "i16": ("i2", 0, 32767),
    "i32": ("i4", 0, 2147483647),
    "u8": ("u1", 127.5, 127.5),
    "u16": ("u2", 32767.5, 32767.5),
    "u32": ("u4", 2147483647.5, 2147483647.5),
}


def stored_numbers(kind, count):
    dtype = np.dtype(STORED[kind][0])
    rng = np.random.default_rng(3)
    if dtype.kind == "f":
        return rng.uniform(-1, 1, count).astype(dtype)
    limits = np.iinfo(dtype)
    numbers = rng.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True)
    numbers[:2] = limits.min, limits.max
    return numbers


@pytest.mark.parametrize("order", ["_le", "_be"])
@pytest.mark.parametrize("kind", STORED)
def test_every_complex_datatype(tmp_path, kind, order):
    numbers = stored_numbers(kind, 4000)
    dtype, zero, full = STORED[kind]
    datatype = f"c{kind}" + (order if kind not in ("i8", "u8") else "")
    numbers.astype(np.dtype(dtype).newbyteorder(order[1])).tofile(tmp_path / "a.sigmf-data")
    write_meta(tmp_path / "a.sigmf-meta", datatype)
    rails = (numbers.astype(np.float64) - zero) / full
    np.testing.assert_allclose(read(tmp_path / "a.sigmf-meta"), rails[::2] + 1j * rails[1::2], atol=1e-7)


@pytest.mark.parametrize("kind", STORED)
def test_every_real_datatype_is_the_real_part_of_its_analytic_signal(tmp_path, kind):
    numbers = stored_numbers(kind, 4000)
    dtype, zero, full = STORED[kind]
    numbers.astype(np.dtype(dtype).newbyteorder("<")).tofile(tmp_path / "a.sigmf-data")
    write_meta(tmp_path / "a.sigmf-meta", f"r{kind}" + ("_le" if kind not in ("i8", "u8") else ""))
    samples = read(tmp_path / "a.sigmf-meta")
    assert samples.dtype == np.complex64
    np.testing.assert_allclose(samples.real, (numbers.astype(np.float64) - zero) / full, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"a.{ending}", "f32") for ending in ("cf32", "fc32", "cfile", "c64", "cfloat", "iq", "CF32")),
        *((f"a.{ending}", "f64") for ending in ("cf64", "c128")),
        *((f"a.{ending}", "i16") for ending in ("cs16", "sc16", "ci16")),
        *((f"a.{ending}", "i8") for ending in ("cs8", "sc8")),
        ("a.cu8", "u8"),
        ("rec_cs16_48k.iq", "i16"),
        ("rec-cu8-2.4Msps.bin", "u8"),
        ("rec_2.4Msps_cu8", "u8"),
        ("gqrx_20140908_214530_433800000_2400000_fc.raw", "f32"),
    ],
)
def test_the_name_tells_the_format(tmp_path, name, kind):
    numbers = stored_numbers(kind, 300)
    numbers.tofile(tmp_path / name)
    _, zero, full = STORED[kind]
    rails = (numbers.astype(np.float64) - zero) / full
    np.testing.assert_allclose(read(tmp_path / name), rails[::2] + 1j * rails[1::2], atol=1e-7)


def test_a_given_format_wins_over_the_name(tmp_path):
    stored_numbers("i16", 400).tofile(tmp_path / "a.cf32")
    assert open_recording(tmp_path / "a.cf32", sample_format="cs16").sample_count == 200
    assert open_recording(tmp_path / "a.cf32", sample_format="ri16_le").sample_count == 400
    assert open_recording(tmp_path / "a.cf32").sample_count == 100


def test_a_sigmf_recording_is_no_wav_file(tmp_path):
    noise(100).tofile(tmp_path / "a.sigmf-data")
    write_meta(tmp_path / "a.sigmf-meta")
    assert "is a SigMF recording" in sentence(tmp_path / "a.sigmf-meta", sample_format="wav")


def test_precedence_of_rate_and_frequency(tmp_path):
    noise(100).tofile(tmp_path / "a_48k_7MHz.cf32")
    told = open_recording(tmp_path / "a_48k_7MHz.cf32")
    assert (told.sample_rate, told.segments[0].frequency, told.inferred) == (48e3, 7e6, ("sample_rate", "frequency"))
    given_ = open_recording(tmp_path / "a_48k_7MHz.cf32", sample_rate=1e6, frequency=0.0)
    assert (given_.sample_rate, given_.segments[0].frequency, given_.inferred) == (1e6, 0.0, ())
    noise(100).tofile(tmp_path / "b_48k.sigmf-data")
    write_meta(tmp_path / "b_48k.sigmf-meta", **{"core:sample_rate": 3})
    assert open_recording(tmp_path / "b_48k.sigmf-meta").sample_rate == 3.0
    assert open_recording(tmp_path / "b_48k.sigmf-data", sample_rate=7).sample_rate == 7.0


@given(data=st.data())
@ANY_TIME
def test_how_a_recording_is_read_does_not_change_it(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("blocks")
    count = data.draw(st.integers(1, 20000), label="samples")
    complex_ = data.draw(st.booleans(), label="complex")
    numbers = stored_numbers("i16", max(2, count * (2 if complex_ else 1)))[: count * (2 if complex_ else 1)]
    numbers.tofile(folder / "a.bin")
    name = "cs16" if complex_ else "ri16_le"
    size = data.draw(st.integers(max(1, count // 50), 30000), label="block")
    whole = read(folder / "a.bin", sample_format=name)
    assert len(whole) == count
    np.testing.assert_array_equal(read(folder / "a.bin", size, sample_format=name), whole)


# --- WAV ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_wav_of_two_channels(tmp_path, width):
    rng = np.random.default_rng(1)
    low, high = (0, 255) if width == 1 else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    numbers = rng.integers(low, high, 2000, endpoint=True)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(96000)
        file.writeframes(b"".join(int(n).to_bytes(width, "little", signed=width > 1) for n in numbers))
    rails = (numbers - 128) / 127.5 if width == 1 else numbers / high
    np.testing.assert_allclose(read(tmp_path / "a.wav"), rails[::2] + 1j * rails[1::2], atol=1e-7)
    assert open_recording(tmp_path / "a.wav").sample_rate == 96000


def wav_bytes(
    content, tag=1, channels=2, rate=48000, bits=16, before=b"", after=b"", length=None, head=b"RIFF", more=b""
):
    frame = channels * bits // 8
    layout = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + more
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(content) if length is None else length) + content + after
    return head + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


def rf64(length):
    """An RF64 file, whose chunk ds64 has the length of the samples."""
    return {
        "head": b"RF64",
        "length": 0xFFFFFFFF,
        "before": b"ds64" + struct.pack("<IQQQI", 28, 0, length, 1000, 0),
    }


@pytest.mark.parametrize(
    "surroundings",
    [
        {},
        {"before": b"odd " + struct.pack("<I", 3) + b"abc\0", "after": b"LIST" + struct.pack("<I", 4) + b"INFO"},
        {"length": 0xFFFFFFFF},
        {"length": 0},
        rf64(8000),
        rf64((1 << 64) - 1),
        rf64(0),
        {"tag": 0xFFFE, "more": struct.pack("<HHI", 22, 32, 3) + struct.pack("<H", 3) + bytes(14)},
    ],
    ids=["plain", "other chunks", "streamed", "interrupted", "RF64", "streamed RF64", "interrupted RF64", "extensible"],
)
def test_float_wav_in_every_wrapping(tmp_path, surroundings):
    samples = noise(1000)
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples.tobytes(), **{"tag": 3, "bits": 32, **surroundings}))
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), samples)


def test_float64_wav(tmp_path):
    samples = noise(1000)
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples.astype(np.complex128).tobytes(), tag=3, bits=64))
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), samples)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a WAV file"),
        (b"RIFF", "not a WAV file"),
        (b"OggS" + bytes(100), "not a WAV file"),
        (wav_bytes(bytes(400))[:40], "truncated WAV file"),
        (wav_bytes(bytes(400))[:-100], "is truncated: its header says 400 bytes of samples, and 300 follow"),
        (wav_bytes(bytes(401)), "no whole number of ci16_le samples"),
        (wav_bytes(b""), "holds no samples"),
        (wav_bytes(bytes(400), channels=3), "has 3 channels"),
        (wav_bytes(bytes(400), tag=6, bits=8), "WAV encoding 6 with 8 bits"),
        (wav_bytes(bytes(400), bits=12), "WAV encoding 1 with 12 bits"),
        (b"RIFF\0\0\0\0WAVE" + bytes(100000), "truncated WAV file"),
    ],
)
def test_a_bad_wav_gets_a_sentence(tmp_path, content, said):
    (tmp_path / "a.wav").write_bytes(content)
    assert said in sentence(tmp_path / "a.wav")


# --- real signals ---------------------------------------------------------------------------------


def test_a_real_wav_becomes_the_analytic_signal(tmp_path):
    """Against the definition: the spectrum without its negative half, twice as high."""
    count, rate = 40000, 48000
    spectrum = np.zeros(count // 2 + 1, complex)
    rng = np.random.default_rng(5)
    band = slice(int(0.01 * count), int(0.49 * count))
    spectrum[band] = rng.standard_normal(band.stop - band.start) + 1j * rng.standard_normal(band.stop - band.start)
    signal = np.fft.irfft(spectrum, count)
    signal *= 0.5 / np.abs(signal).max()
    numbers = np.round(signal * 32767).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(numbers.tobytes())
    both = np.fft.fft(numbers / 32767)
    both[1 : count // 2] *= 2
    both[count // 2 + 1 :] = 0
    ideal = np.fft.ifft(both)
    samples = read(tmp_path / "a.wav")
    assert len(samples) == count
    # At both ends the recording is preceded or followed by silence, where the ideal one repeats itself.
    inner = slice(1000, -1000)
    error = np.sqrt(np.mean(np.abs(samples[inner] - ideal[inner]) ** 2) / np.mean(np.abs(ideal) ** 2))
    assert error < 0.005


# --- SigMF ----------------------------------------------------------------------------------------


def test_a_recording_of_the_sigmf_package(tmp_path):
    samples = noise(5000)
    samples.tofile(tmp_path / "a.sigmf-data")
    written = sigmf.SigMFFile(
        data_file=str(tmp_path / "a.sigmf-data"),
        global_info={"core:datatype": "cf32_le", "core:sample_rate": 1e6, "core:version": "1.2.0"},
    )
    written.add_capture(0, metadata={"core:frequency": 100e6, "core:datetime": "2024-01-31T23:59:59.250000Z"})
    written.add_capture(3000, metadata={"core:frequency": 200e6})
    written.tofile(str(tmp_path / "a.sigmf-meta"))
    for extension in ("", ".gz", ".xz"):
        written.archive(str(tmp_path / f"b.sigmf{extension}"))
    for name in ("a.sigmf-meta", "a.sigmf-data", "b.sigmf", "b.sigmf.gz", "b.sigmf.xz"):
        recording = open_recording(tmp_path / name)
        assert recording.sample_rate == 1e6
        assert [(s.sample_start, s.sample_count, s.frequency) for s in recording.segments] == [
            (0, 3000, 100e6),
            (3000, 2000, 200e6),
        ]
        assert recording.segments[0].time == (1706745599, 0.25)
        assert recording.segments[1].time is None
        np.testing.assert_array_equal(read(tmp_path / name, 700), samples)


def test_header_and_trailing_bytes_and_a_dataset_of_another_name(tmp_path):
    samples = noise(1000)
    raw = b"HEAD" + samples[:400].tobytes() + b"MIDDLE" + samples[400:].tobytes() + b"END"
    (tmp_path / "raw.dat").write_bytes(raw)
    captures = [
        {"core:sample_start": 0, "core:header_bytes": 4},
        {"core:sample_start": 400, "core:header_bytes": 6},
    ]
    fields = {"core:dataset": "raw.dat", "core:trailing_bytes": 3}
    write_meta(tmp_path / "a.sigmf-meta", captures=captures, **fields)
    np.testing.assert_array_equal(read(tmp_path / "a.sigmf-meta"), samples)
    with tarfile.open(tmp_path / "a.sigmf", "w") as archive:
        for name in ("a.sigmf-meta", "raw.dat"):
            archive.add(tmp_path / name, f"a/{name}")
    np.testing.assert_array_equal(read(tmp_path / "a.sigmf"), samples)


def test_captures_give_stretches_and_their_times(tmp_path):
    noise(1000).tofile(tmp_path / "a.sigmf-data")
    captures = [
        {"core:sample_start": 120, "core:datetime": "1970-01-01T00:00:10,5+00:30", "core:global_index": 1000},
        {"core:sample_start": 500, "core:global_index": 1500},
        {"core:sample_start": 500, "core:frequency": -5},
        {"core:sample_start": 700},
    ]
    write_meta(tmp_path / "a.sigmf-meta", captures=captures, **{"core:offset": 100, "core:sample_rate": 1000})
    segments = open_recording(tmp_path / "a.sigmf-meta").segments
    # Samples before the first capture are kept; nothing but their number is known.
    assert [(s.sample_start, s.sample_count, s.byte_start) for s in segments] == [
        (100, 20, 0),
        (120, 380, 160),
        (500, 200, 3200),
        (700, 400, 4800),
    ]
    assert [s.time for s in segments] == [None, (10 - 1800, 0.5), None, None]
    assert [s.frequency for s in segments] == [None, None, -5.0, None]


def test_lost_samples_move_the_time(tmp_path):
    noise(1000).tofile(tmp_path / "a.sigmf-data")
    captures = [
        {"core:sample_start": 0, "core:datetime": "1970-01-01T00:00:10Z"},
        {"core:sample_start": 500, "core:global_index": 1500},
    ]
    write_meta(tmp_path / "a.sigmf-meta", captures=captures, **{"core:sample_rate": 1000})
    assert [s.time for s in open_recording(tmp_path / "a.sigmf-meta").segments] == [(10, 0.0), (11, 0.5)]


def test_no_captures_mean_one_from_the_beginning(tmp_path):
    noise(10).tofile(tmp_path / "a.sigmf-data")
    write_meta(tmp_path / "a.sigmf-meta", captures=[])
    assert [(s.sample_start, s.sample_count) for s in open_recording(tmp_path / "a.sigmf-meta").segments] == [(0, 10)]


def capture(**fields):
    return {"captures": [{"core:sample_start": 0, **{f"core:{key}": value for key, value in fields.items()}}]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"datatype": "cf16_le"}, "core:datatype"),
        ({"datatype": 7}, "core:datatype"),
        ({"datatype": None}, "core:datatype"),
        ({"core:num_channels": 2}, "2 interleaved channels"),
        ({"core:num_channels": "1"}, "core:num_channels"),
        ({"core:sample_rate": 0}, "core:sample_rate"),
        ({"core:sample_rate": "48000"}, "core:sample_rate"),
        ({"core:sample_rate": True}, "core:sample_rate"),
        ({"core:sample_rate": 1e-300}, "core:sample_rate"),
        ({"core:trailing_bytes": 800}, "800 bytes follow"),
        ({"core:trailing_bytes": 3}, "no whole number"),
        ({"core:offset": -1}, "core:offset"),
        ({"core:offset": 10}, "core:sample_start"),
        ({"captures": {}}, "'captures'"),
        ({"captures": [7]}, "'captures'"),
        ({"captures": [{}]}, "core:sample_start"),
        ({"captures": [{"core:sample_start": 5}, {"core:sample_start": 1}]}, "ascending"),
        ({"captures": [{"core:sample_start": 1.5}]}, "core:sample_start"),
        ({"captures": [{"core:sample_start": 1 << 63}]}, "core:sample_start"),
        ({"captures": [{"core:sample_start": 0}, {"core:sample_start": 100}]}, "truncated: a capture needs sample 100"),
        (capture(header_bytes=801), "truncated: its headers alone"),
        (capture(header_bytes=1), "no whole number"),
        (capture(header_bytes="1"), "core:header_bytes"),
        (capture(frequency=[]), "core:frequency"),
        (capture(frequency=1e13), "core:frequency"),
        (capture(datetime="yesterday"), "core:datetime"),
        (capture(datetime="2024-13-01T00:00:00Z"), "core:datetime"),
        (capture(datetime=5), "core:datetime"),
        (capture(datetime="0001-01-01T00:00:00+01:00"), "core:datetime"),
        (capture(datetime="9999-12-31T23:59:59-01:00"), "core:datetime"),
        (capture(global_index=-1), "core:global_index"),
        (
            {"annotations": [{"core:sample_start": 90, "core:sample_count": 11}]},
            "truncated: an annotation needs sample 100",
        ),
        ({"annotations": ["x"]}, "'annotations'"),
        ({"annotations": [{}]}, "core:sample_start"),
        ({"core:dataset": "../a.sigmf-data"}, "same folder"),
        ({"core:dataset": ".."}, "same folder"),
        ({"core:dataset": "/etc/passwd"}, "same folder"),
        ({"core:dataset": "link"}, "same folder"),
        ({"core:dataset": 5}, "same folder"),
        ({"core:dataset": ""}, "same folder"),
        ({"core:dataset": "sub"}, "is a folder"),
        ({"core:dataset": "missing.bin"}, "missing.bin of"),
        ({"core:dataset": "x" * 256}, "are missing"),
    ],
)
def test_bad_metadata_gets_a_sentence(tmp_path, fields, said):
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(800))
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "sub").mkdir()
    (folder / "a.sigmf-data").write_bytes(bytes(800))
    write_meta(folder / "a.sigmf-meta", **fields)
    assert said in sentence(folder / "a.sigmf-meta")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100000, "not valid JSON"),
        (b'{"global": NaN}', "not valid JSON"),
        (b"[]", "JSON object"),
        (b"{}", "'global'"),
        (b'{"global": []}', "'global'"),
        (b'{"global": {}}', "core:datatype"),
    ],
)
def test_metadata_that_is_none_gets_a_sentence(tmp_path, content, said):
    (tmp_path / "a.sigmf-data").write_bytes(bytes(800))
    (tmp_path / "a.sigmf-meta").write_bytes(content)
    assert said in sentence(tmp_path / "a.sigmf-meta")


def test_a_link_within_the_folder_is_followed(tmp_path):
    noise(10).tofile(tmp_path / "true.bin")
    (tmp_path / "link.bin").symlink_to("true.bin")
    write_meta(tmp_path / "a.sigmf-meta", **{"core:dataset": "link.bin"})
    np.testing.assert_array_equal(read(tmp_path / "a.sigmf-meta"), noise(10))


def test_half_a_pair_gets_a_sentence(tmp_path):
    write_meta(tmp_path / "a.sigmf-meta")
    assert "a.sigmf-data of" in sentence(tmp_path / "a.sigmf-meta")
    write_meta(tmp_path / "c.sigmf-meta", **{"core:metadata_only": True})
    assert "meant to come alone" in sentence(tmp_path / "c.sigmf-meta")
    noise(10).tofile(tmp_path / "b.sigmf-data")
    assert "b.sigmf-meta of" in sentence(tmp_path / "b.sigmf-data")
    np.testing.assert_array_equal(read(tmp_path / "b.sigmf-data", sample_format="cf32"), noise(10))


def archive_bytes(members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


META = json.dumps({"global": {"core:datatype": "cf32_le", "core:version": "1.2.0"}, "captures": [], "annotations": []})
ARCHIVE = {"a/a.sigmf-meta": META.encode(), "a/a.sigmf-data": noise(3000).tobytes()}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a SigMF archive"),
        (b"x" * 2000, "not a SigMF archive"),
        (archive_bytes({}), "holds 0 recordings"),
        (archive_bytes({**ARCHIVE, "b/b.sigmf-meta": b""}), "holds 2 recordings"),
        (archive_bytes({"a/a.sigmf-meta": META.encode()}), "lacks the samples a/a.sigmf-data"),
        (archive_bytes({**ARCHIVE, "a/a.sigmf-meta": b"{"}), "not valid JSON"),
        (archive_bytes({**ARCHIVE, "a/a.sigmf-data": b""}), "holds no samples"),
        (archive_bytes({**ARCHIVE, "a/a.sigmf-data": b"odd"}), "no whole number"),
        (archive_bytes(ARCHIVE)[:10000], "truncated or damaged"),
    ],
)
def test_a_bad_archive_gets_a_sentence(tmp_path, content, said):
    (tmp_path / "a.sigmf").write_bytes(content)
    assert said in sentence(tmp_path / "a.sigmf")


def test_a_truncated_compressed_archive_gets_a_sentence(tmp_path):
    import gzip

    (tmp_path / "a.sigmf.gz").write_bytes(gzip.compress(archive_bytes(ARCHIVE))[:8000])
    assert "truncated or damaged" in sentence(tmp_path / "a.sigmf.gz")


# --- files ----------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_get_a_sentence(tmp_path):
    assert "there is no file" in sentence(tmp_path / "missing.cf32")
    assert "is a folder" in sentence(tmp_path)
    (tmp_path / "folder.cf32").mkdir()
    assert "is a folder" in sentence(tmp_path / "folder.cf32")
    (tmp_path / "empty.cf32").touch()
    assert "holds no samples" in sentence(tmp_path / "empty.cf32")
    (tmp_path / "odd.cf32").write_bytes(bytes(1001))
    assert "1001 bytes" in sentence(tmp_path / "odd.cf32")
    (tmp_path / "odd.cu8").write_bytes(bytes(1001))
    assert "no whole number of cu8 samples" in sentence(tmp_path / "odd.cu8")
    os.mkfifo(tmp_path / "pipe.cf32")
    assert "pipe or a device" in sentence(tmp_path / "pipe.cf32")
    (tmp_path / "what.bin").write_bytes(bytes(800))
    assert "give it (--format)" in sentence(tmp_path / "what.bin")
    assert "'cf31' is unknown" in sentence(tmp_path / "what.bin", sample_format="cf31")
    assert "sample rate nan" in sentence(tmp_path / "what.bin", sample_format="cu8", sample_rate=float("nan"))
    assert "frequency inf" in sentence(tmp_path / "what.bin", sample_format="cu8", frequency=float("inf"))
    for name in ("", "a\0b", "\ud800"):
        assert "no possible path" in sentence(name)
    (tmp_path / "loop.cf32").symlink_to("loop.cf32")
    assert "cannot be read" in sentence(tmp_path / "loop.cf32")
    assert "name too long" in sentence(tmp_path / f"{'x' * 256}.sigmf-data")
    assert "name too long" in sentence(tmp_path / f"{'x' * 256}.sigmf-data", sample_format="cf32")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_gets_a_sentence(tmp_path):
    noise(10).tofile(tmp_path / "a.cf32")
    (tmp_path / "a.cf32").chmod(0)
    assert "may not be read" in sentence(tmp_path / "a.cf32")


def test_a_refused_permission_gets_a_sentence(tmp_path, monkeypatch):
    noise(10).tofile(tmp_path / "a.cf32")
    recording = open_recording(tmp_path / "a.cf32")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(AmcError, match="may not be read"):
        next(recording.blocks(recording.segments[0]))


def test_a_file_that_shrinks_while_it_is_read_gets_a_sentence(tmp_path):
    noise(10000).tofile(tmp_path / "a.cf32")
    recording = open_recording(tmp_path / "a.cf32")
    blocks = recording.blocks(recording.segments[0], 1000)
    assert len(next(blocks)) == 1000
    os.truncate(tmp_path / "a.cf32", 40004)
    with pytest.raises(AmcError, match="too early"):
        list(blocks)


def test_a_file_that_grows_is_read_as_it_was(tmp_path):
    noise(1000).tofile(tmp_path / "a.cf32")
    recording = open_recording(tmp_path / "a.cf32")
    with open(tmp_path / "a.cf32", "ab") as file:
        file.write(bytes(81))
    assert sum(len(block) for block in recording.blocks(recording.segments[0])) == 1000


def test_a_recording_that_would_end_after_all_time(tmp_path):
    noise(1000).tofile(tmp_path / "a.sigmf-data")
    write_meta(tmp_path / "a.sigmf-meta", **capture(datetime="9999-12-30T00:00:00Z"), **{"core:sample_rate": 1e-3})
    assert "year 9999" in sentence(tmp_path / "a.sigmf-meta")


# --- anything at all ------------------------------------------------------------------------------


def read_or_refuse(path, **known):
    """Every file is either read or refused with an AmcError; any other exception fails the test."""
    with contextlib.suppress(AmcError):
        recording = open_recording(path, **known)
        for segment in recording.segments:
            assert sum(len(block) for block in recording.blocks(segment)) == segment.sample_count


@given(
    content=st.binary(max_size=3000),
    name=st.sampled_from(["a.cf32", "a.cs16", "a.cu8", "a.wav", "a.sigmf", "a.sigmf.gz", "a.sigmf-meta", "a.bin"]),
)
@ANY_TIME
def test_random_bytes_are_read_or_refused(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(content)
    (folder / "a.sigmf-data").write_bytes(content)
    read_or_refuse(folder / name)


VALID = {
    "a.wav": wav_bytes(noise(100).tobytes(), tag=3, bits=32),
    "b.wav": wav_bytes(
        bytes(400), channels=1, head=b"RF64", before=b"ds64" + struct.pack("<IQQQI", 28, 0, 400, 200, 0)
    ),
    "a.sigmf": archive_bytes(ARCHIVE),
    "a.sigmf-meta": META.encode(),
}


@given(name=st.sampled_from(sorted(VALID)), data=st.data())
@ANY_TIME
def test_damaged_files_are_read_or_refused(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(VALID[name])
    for _ in range(data.draw(st.integers(1, 6))):
        # Most of what matters is near the beginning.
        position = data.draw(st.integers(0, min(len(content), 600) - 1))
        content[position] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    (folder / "a.sigmf-data").write_bytes(bytes(800))
    read_or_refuse(folder / name)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.integers(0, 100)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["cf32_le", "ri16_be", "cu8", "2024-01-01T00:00:00Z", "a.sigmf-data", ".."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
GLOBAL_KEYS = [
    "datatype",
    "sample_rate",
    "num_channels",
    "offset",
    "trailing_bytes",
    "dataset",
    "version",
    "extensions",
]
CAPTURE_KEYS = ["sample_start", "sample_count", "frequency", "datetime", "global_index", "header_bytes"]


def some_fields(keys):
    return st.dictionaries(st.sampled_from([f"core:{key}" for key in keys]), ANYTHING, max_size=4)


@given(
    information=some_fields(GLOBAL_KEYS),
    captures=st.lists(some_fields(CAPTURE_KEYS), max_size=3) | ANYTHING,
    annotations=st.lists(some_fields(CAPTURE_KEYS), max_size=2) | ANYTHING,
    usual=st.booleans(),
)
@ANY_TIME
def test_random_metadata_are_read_or_refused(tmp_path_factory, information, captures, annotations, usual):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.sigmf-data").write_bytes(bytes(800))
    if usual:
        information = {"core:datatype": "cf32_le", **information}
        if isinstance(captures, list):
            captures = [{"core:sample_start": 0, **c} if isinstance(c, dict) else c for c in captures]
    metadata = {"global": information, "captures": captures, "annotations": annotations}
    (folder / "a.sigmf-meta").write_text(json.dumps(metadata))
    read_or_refuse(folder / "a.sigmf-meta")
