# SPDX-License-Identifier: GPL-3.0-or-later
"""The signal generator against its own laws, GNU Radio's constellations and the real set's statistics."""

import numpy as np
import pytest
import torch
from gnuradio import digital
from gnuradio.filter import firdes

from training.signals import CLASSES, FRAME, PRESETS, SNR_LABELS, generate
from training.signals.constellations import CONSTELLATIONS
from training.signals.generator import raised_cosine

NOISELESS = 100


def frames_of(preset, name, snr, count, seed=1):
    classes = torch.full((count,), CLASSES.index(name))
    rails = generate(PRESETS[preset], classes, torch.full((count,), snr), torch.Generator().manual_seed(seed))
    return (rails[:, 0] + 1j * rails[:, 1]).numpy()


def test_the_order_of_the_classes_is_the_true_one():
    assert CLASSES[:9] == ("OOK", "4ASK", "8ASK", "BPSK", "QPSK", "8PSK", "16PSK", "32PSK", "16APSK")
    assert CLASSES[-7:] == ("AM-SSB-WC", "AM-SSB-SC", "AM-DSB-WC", "AM-DSB-SC", "FM", "GMSK", "OQPSK")
    assert len(set(CLASSES)) == 24
    assert SNR_LABELS == tuple(range(-20, 31, 2))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_class_gives_finite_frames_that_the_seed_fixes(preset):
    classes = torch.arange(24).repeat(4)
    labels = torch.tensor(SNR_LABELS)[torch.arange(96) % 26]

    def once(seed):
        return generate(PRESETS[preset], classes, labels, torch.Generator().manual_seed(seed))

    first = once(3)
    assert first.shape == (96, 2, FRAME)
    assert first.dtype == torch.float32
    assert torch.isfinite(first).all()
    assert torch.equal(first, once(3))
    assert not torch.allclose(first, once(4))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("BPSK", digital.constellation_bpsk()),
        ("QPSK", digital.constellation_qpsk()),
        ("8PSK", digital.constellation_8psk()),
        ("16QAM", digital.constellation_16qam()),
        ("64QAM", digital.qam.qam_constellation(64, differential=False)),
        ("256QAM", digital.qam.qam_constellation(256, differential=False)),
        ("16PSK", digital.psk_constellation(16)),
        ("32PSK", digital.psk_constellation(32)),
    ],
)
def test_constellations_have_the_geometry_of_gnu_radios(name, theirs):
    """Equal sets of distances between points, at equal power: the same figure up to a rotation."""

    def distances(points):
        points = np.asarray(points, np.complex128)
        points = points / np.sqrt(np.mean(np.abs(points) ** 2))
        return np.sort(np.abs(points[:, None] - points[None]).ravel())

    np.testing.assert_allclose(distances(CONSTELLATIONS[name]), distances(theirs.points()), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CONSTELLATIONS if name[0].isdigit()])
def test_constellations_have_as_many_points_as_their_name_says(name):
    order = int("".join(letter for letter in name if letter.isdigit()))
    assert len(np.unique(np.round(CONSTELLATIONS[name].numpy(), 6))) == order


@pytest.mark.parametrize("roll_off", [0.2, 0.35, 0.5])
def test_the_pulse_is_gnu_radios_root_raised_cosine(roll_off):
    taps = np.array(firdes.root_raised_cosine(1.0, 8.0, 1.0, roll_off, 8 * 64 + 1))
    theirs = np.abs(np.fft.fft(taps, 4096))
    frequency = torch.fft.fftfreq(4096) * 8
    ours = raised_cosine(frequency, torch.tensor(roll_off)).sqrt().numpy()
    np.testing.assert_allclose(theirs / theirs[0], ours, atol=0.02)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["QPSK", "64QAM", "128APSK", "OQPSK", "GMSK", "FM", "8ASK", "AM-DSB-SC"])
@pytest.mark.parametrize("label", [-6, 0, 6])
def test_the_noise_follows_the_law_of_the_label(preset, name, label):
    """Same seed, so the frames differ in noise alone; signal power is 1 with its mean before the division."""
    settings = PRESETS[preset]
    clean, noisy = (frames_of(preset, name, snr, 200) for snr in (NOISELESS, label))
    signal_power = np.mean(np.abs(clean) ** 2)
    variance = 1.0 if settings.mean_in_divisor else 1 / signal_power
    noise_power = 10 ** (-settings.snr_db_per_label * label / 10)
    noise = noisy * np.sqrt(variance + noise_power) - clean * np.sqrt(variance)
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(noise_power, rel=0.02)
    assert np.mean(np.abs(clean * np.sqrt(variance)) ** 2) == pytest.approx(1.0, rel=0.05)


def test_statistics_of_the_real_set():
    """Standard deviations per axis that were measured on real frames."""

    def deviation(name, label):
        frames = frames_of("radioml2018", name, label, 400)
        return np.std(np.concatenate([frames.real.ravel(), frames.imag.ravel()]))

    assert deviation("8ASK", -20) == pytest.approx(0.707, abs=0.01)
    assert deviation("8ASK", 30) == pytest.approx(1.36, abs=0.03)
    assert deviation("AM-SSB-SC", -20) == pytest.approx(0.708, abs=0.01)
    assert deviation("AM-SSB-SC", 30) == pytest.approx(5.88, abs=0.6)


@pytest.mark.parametrize("preset", PRESETS)
def test_linear_modulations_stay_in_their_band(preset):
    frames = frames_of(preset, "16QAM", NOISELESS, 100) * np.hanning(FRAME)
    power = np.mean(np.abs(np.fft.fft(frames)) ** 2, axis=0)
    outside = np.abs(np.fft.fftfreq(FRAME)) > (1 + PRESETS[preset].roll_off.high) / 2 / 8 + 0.01
    assert power[outside].sum() < 1e-3 * power.sum()


def test_the_reference_network_recognises_the_twin(shared):
    """A VGG10 that was trained on the real set; its published accuracy is 0.931 at 30 dB and 0.53 at 0 dB."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(shared / "reference" / "vgg10_w8a8_radioml2018.onnx"))
    classes = torch.arange(24).repeat_interleave(40)
    for label, published in ((30, 0.931), (10, 0.912), (0, 0.53), (-20, 0.043)):
        frames = generate(PRESETS["radioml2018"], classes, torch.full((960,), label), torch.Generator().manual_seed(9))
        predicted = session.run(None, {session.get_inputs()[0].name: frames.numpy()})[0].argmax(1)
        assert np.mean(predicted == classes.numpy()) == pytest.approx(published, abs=0.04)
