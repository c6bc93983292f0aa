# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of no class in training, and networks that begin with the features of one of other classes."""

import json
from dataclasses import replace

import pytest
import torch
from gnuradio.amc import load_model

from tests.helpers.tiny_runs import same
from training import examine, export
from training.batches import OUTLIER, Batches, validation_frames
from training.calibration import SCORES, area_under_roc
from training.config import Source, Stage
from training.errors import TrainingError
from training.export import _samples_per_symbol
from training.networks import Bits, output_layer
from training.signals import PRESETS
from training.train import Trainer, read_checkpoint, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exposed(run):
    others = Source("others", share=0.5, snr=(10, 30), outliers=True)
    return replace(
        run, name="exposed", sources=(*run.sources, others), batch=6, frames_per_epoch=96, stages=run.stages[:1]
    )


def test_a_batch_has_its_share_of_outliers(exposed):
    frames, classes = Batches(exposed, CPU).batch(exposed.sources, 0)
    assert classes.tolist().count(OUTLIER) == 2
    assert (classes[:4] >= 0).all()
    assert frames.shape == (6, 2, 1024)


def test_outliers_are_a_class_more(run, exposed, tmp_path):
    classes = torch.tensor([3, OUTLIER, 0])
    assert Trainer(exposed, tmp_path)._targets(classes, None).tolist() == [3, 24, 0]
    blind = Trainer(run, tmp_path)
    assert blind._targets(classes[::2], None).tolist() == [3, 0]


def test_outliers_are_no_class_of_the_run(run, exposed):
    assert exposed.classes == run.classes
    assert _samples_per_symbol(exposed) == _samples_per_symbol(run) == "8"
    for ours, theirs in zip(validation_frames(exposed, CPU), validation_frames(run, CPU), strict=True):
        assert torch.equal(ours, theirs)


def test_training_with_outliers_teaches_what_is_none_of_the_classes(exposed, tmp_path):
    """By the score called energy; beside a network that was never shown any. Both are trained for a moment only."""
    longer = replace(
        exposed, stages=(replace(exposed.stages[0], frames=6000, rate=1e-2),), batch=30, frames_per_epoch=6000
    )
    blind = replace(longer, sources=longer.sources[:1], name="blind")
    batches = Batches(longer, CPU)
    known, others = (
        torch.cat([batches.batch((source,), number)[0] for number in range(10_000, 10_010)])
        for source in longer.sources
    )
    areas = {}
    for run in (longer, blind):
        trainer = Trainer(run, tmp_path / run.name)
        trainer.load_network(run.stages[0].bits, read_checkpoint(train(run, tmp_path / run.name))["network"])
        with torch.inference_mode():
            scores = [SCORES["energy"](trainer.network.eval()(frames)) for frames in (known, others)]
        areas[run.name] = area_under_roc(*scores)
    assert areas["exposed"] > 0.65
    assert areas["exposed"] > areas["blind"] + 0.1


@pytest.mark.parametrize("sources", [(), (Source("others", share=1.0, outliers=True),)])
def test_a_run_needs_frames_of_its_classes(run, sources):
    with pytest.raises(TrainingError, match="at least one entry in sources, beside outliers"):
        replace(run, sources=sources)


def test_a_network_of_other_classes_begins_with_the_features(run, tmp_path):
    train(replace(run, stages=run.stages[:1]), tmp_path / run.name)
    parent = read_checkpoint(tmp_path / run.name / "trained.pt")
    child = replace(
        run,
        name="child",
        start=run.name,
        sources=(Source("wild", share=1.0),),
        stages=(replace(run.stages[0], frames=48, rate=1e-12),),
    )
    content = read_checkpoint(train(child, tmp_path / "child"))
    weights = {
        name: value for name, value in content["network"].items() if name.endswith("weight") and value.ndim in (2, 4)
    }
    *features, last = weights
    for name in features:
        torch.testing.assert_close(weights[name], parent["network"][name], rtol=0, atol=1e-6)
    assert weights[last].shape[0] == len(PRESETS["wild"].classes) == 25
    assert content["ancestors"][0]["name"] == run.name
    trainer = Trainer(child, tmp_path / "again")
    trainer.load_network(child.stages[0].bits, content["network"])
    assert last == f"{output_layer(trainer.network)}.weight"
    assert same(trainer.network.state_dict(), content["network"])


def test_what_is_exported_rejects_and_its_card_says_how_well(exposed, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TEST_FRAMES_PER_PAIR", 1)
    monkeypatch.setattr(export, "AGREEMENT_FRAMES", 600)
    monkeypatch.setattr(examine, "REJECTION_FRAMES_PER_PAIR", 2)
    monkeypatch.setattr(examine, "CONDITION_FRAMES", 2)
    quantised = replace(
        exposed,
        network="strided",
        normalise="unit_power",
        sources=(Source("wild", share=1.0, snr=(0, 30)), exposed.sources[1]),
        stages=(Stage("quantised", frames=96, rate=1e-3, bits=Bits(8, 4, 5)),),
    )
    checkpoint = train(quantised, tmp_path / quantised.name)
    export.export(checkpoint, tmp_path / "models" / "exposed")
    card = json.loads((tmp_path / "models" / "exposed.json").read_text())
    rejection = card["rejection"]
    assert set(rejection["test"]["unknown_or_noise"]) == {"OFDM", "chirp", "FSK", "carrier", "white noise"}
    assert set(card["test"]["presets"]) == {"wild"}
    assert set(card["by_condition"]["wild"]) == {"samples_per_symbol", "carrier_offset"}
    model = load_model(tmp_path / "models" / "exposed.onnx")
    assert (model.rejection.score, model.rejection.threshold) == (rejection["score"], rejection["threshold"])
    assert model.runtime.name == "native"
    assert model.classes[-1] == "noise"
