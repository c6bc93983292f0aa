# SPDX-License-Identifier: GPL-3.0-or-later
"""What is released does what its card says, on frames that nothing was trained or chosen on."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.amc import load_model

from tests.bench import receivers
from tests.helpers import modulators
from training.cost import PRODUCTS_BEFORE, cost, cost_with_timing
from training.data import normalise
from training.signals import CLASSES, PRESETS, SNR_LABELS, generate

MODELS = Path(__file__).parents[2] / "models"
CARDS = {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in sorted(MODELS.glob("*.json"))}
NAMES = list(CARDS)
# What each was trained on; the twin last where there are several.
PRESETS_OF = {name: sorted(card["test"]["presets"], key="radioml2018".__eq__) for name, card in CARDS.items()}
FRESH_SEED = 20_261_123
FRAMES_PER_LABEL = 20


def test_something_is_released():
    assert "vgg10-w4a4-first" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_card_belongs_to_the_file(name):
    card = CARDS[name]
    assert card["sha256"] == hashlib.sha256((MODELS / f"{name}.onnx").read_bytes()).hexdigest()
    model = load_model(name)
    billed = cost(MODELS / f"{name}.qonnx.onnx")
    if model.normalise in PRODUCTS_BEFORE:
        billed["with_timing"] = cost_with_timing(billed, model.normalise)
    assert card["cost"] == billed
    assert model.path.read_bytes() == (MODELS / f"{name}.onnx").read_bytes()
    assert list(model.classes) == card["classes"]
    assert {PRESETS[preset].classes for preset in card["test"]["presets"]} == {model.classes}
    assert model.temperature == card["temperature"]


@pytest.mark.parametrize("preset", sorted({preset for presets in PRESETS_OF.values() for preset in presets[-1:]}))
def test_the_engine_gives_the_logits_of_onnxruntime_on_a_hundred_thousand_frames(preset):
    """All classes at all SNR labels, every released network, bit for bit."""
    names = [name for name, presets in PRESETS_OF.items() if presets[-1] == preset]
    models = [[load_model(name, runtime=kind, threads=2) for kind in ("native", "onnxruntime")] for name in names]
    classes = PRESETS[preset].classes
    labels = torch.tensor(SNR_LABELS).repeat_interleave(math.ceil(100_000 / len(classes) / len(SNR_LABELS)))
    for index, kind in enumerate(classes):
        generator = torch.Generator().manual_seed(FRESH_SEED + index)
        frames = generate(PRESETS[preset], torch.full_like(labels, index), labels, generator)
        for pair in models:
            ready = normalise(frames, pair[0].normalise).numpy()
            ours, theirs = (np.concatenate([model.run(part) for part in np.split(ready, 13)]) for model in pair)
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{pair[0].path.stem} on {kind}")


def recalls(name, preset):
    """Share of frames named right for each class, over the SNR labels from 10 to 30."""
    model = load_model(name)
    labels = torch.arange(10, 31, 2).repeat_interleave(FRAMES_PER_LABEL)
    shares = {}
    for index, kind in enumerate(CLASSES):
        generator = torch.Generator().manual_seed(FRESH_SEED + index)
        frames = generate(PRESETS[preset], torch.full_like(labels, index), labels, generator)
        predicted = model.run(normalise(frames, model.normalise).numpy()).argmax(axis=1)
        shares[kind] = float(np.mean(predicted == index))
    return shares


@pytest.mark.parametrize("preset", ["simulation", "radioml2018"])
def test_the_first_network_really_works(preset):
    shares = recalls("vgg10-w4a4-first", preset)
    assert sum(share > 0.6 for share in shares.values()) >= 18, shares


def test_the_card_is_right_about_the_twin():
    told = CARDS["vgg10-w4a4-first"]["test"]["presets"]["radioml2018"]["by_class_from_label_10"]
    for kind, share in recalls("vgg10-w4a4-first", "radioml2018").items():
        # Two binomial shares of 440 and 220 frames: four standard deviations of their difference.
        assert share == pytest.approx(told[kind], abs=4 * (0.25 * (1 / 440 + 1 / 220)) ** 0.5)


def test_noise_is_unknown_by_default():
    from gnuradio.amc.pipeline import Pipeline

    rng = np.random.default_rng(FRESH_SEED)
    noise = (rng.normal(size=1024 * 500) + 1j * rng.normal(size=1024 * 500)).astype(np.complex64)
    results = Pipeline(load_model("vgg10-w4a4-first")).push(noise)
    assert len(results) == 500
    assert sum(result.label == "unknown" for result in results) >= 450


# --- signals of other modulators than ours --------------------------------------------------------

# With and without the conditioner before it.
RECEIVERS = {"wild": False, "conditioned": True}


@pytest.fixture(scope="module", params=RECEIVERS)
def receiver(request):
    return load_model(request.param), RECEIVERS[request.param]


def named(receiver, name, threshold):
    """Labels of windows at 4 to 16 samples per symbol, carriers off by up to 2 %, 15 dB."""
    model, condition = receiver
    return [
        label
        for samples in receivers.stretches(name, model, 15, 2, condition)
        for label in receivers.labels(model, samples, 1, threshold)
    ]


@pytest.mark.parametrize(
    ("name", "least"),
    [("OOK", 0.9), ("BPSK", 0.9), ("OQPSK", 0.8), ("GMSK", 0.7), ("AM-DSB-SC", 0.9), ("AM-DSB-WC", 0.9)],
)
def test_networks_for_receivers_name_what_others_modulate(receiver, name, least):
    labels = named(receiver, name, 0)
    assert labels.count(name) / len(labels) > least


@pytest.mark.parametrize("name", ["QPSK", "8PSK", "16APSK", "16QAM", "32QAM"])
def test_the_network_behind_the_conditioner_names_constellations(name):
    labels = named((load_model("conditioned"), True), name, 0)
    assert labels.count(name) / len(labels) > 0.85


@pytest.mark.parametrize("name", modulators.OTHERS)
def test_networks_for_receivers_turn_away_what_they_do_not_know(receiver, name):
    labels = named(receiver, name, 0.5)
    assert len(labels) > 0 or name in ("carrier", "noise")  # in which the conditioner finds nothing
    assert sum(label in ("unknown", "noise") for label in labels) >= 0.9 * len(labels)


@pytest.mark.parametrize("name", RECEIVERS)
def test_networks_for_receivers_turn_away_generated_frames_of_no_class(name):
    """Every kind, from 0 dB on, while 95 % of the known stay."""
    test = CARDS[name]["rejection"]["test"]
    assert test["known_kept"] == pytest.approx(0.95, abs=0.01)
    assert set(test["unknown_or_noise"]) == {"OFDM", "chirp", "FSK", "carrier", "white noise"}
    assert min(test["unknown_or_noise"].values()) >= 0.9


@pytest.mark.parametrize("name", RECEIVERS)
def test_confidence_of_networks_for_receivers_is_calibrated(name):
    for figures in CARDS[name]["test"]["presets"].values():
        assert figures["expected_calibration_error"] <= 0.03
