# SPDX-License-Identifier: GPL-3.0-or-later
"""From a checkpoint to a released model: QCDQ ONNX, QONNX and a card."""

import dataclasses
import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from torch import nn

from .batches import open_run_dataset, validation_frames
from .calibration import fit_temperature
from .config import TWIN, Run, run_from_mapping
from .cost import PRODUCTS_BEFORE, cost, cost_with_timing
from .data import every_pair, normalise
from .dataset import Part
from .errors import TrainingError
from .evaluate import evaluate
from .exact import make_exact
from .examine import TEST_SEED, by_condition, logits_of, noise_confidence, rejection_of
from .files import make_folder
from .networks import Bits, one_dimensional
from .signals import FRAME, PRESETS, SNR_LABELS
from .signals.presets import Choice
from .start import build_network
from .train import read_checkpoint, source_commit

FORMAT_VERSION = "1"
# The test split of a generated set: as many frames as the official split of the real one has, the same for every
# network, so that networks are compared on the same frames.
TEST_FRAMES_PER_PAIR = 410
AGREEMENT_FRAMES = 20_000  # at least
AGREEMENT_SEED = 4026
LARGEST_LOGIT_DIFFERENCE = 1e-4


def _exportable(content: dict, run: Run) -> nn.Module:
    bits = Bits(**content["bits"])
    if bits.is_float:
        raise TrainingError("the checkpoint holds a float network; train a stage with bits, then export that.")
    network = build_network(run, bits, images=False)
    network.load_state_dict(one_dimensional(content["network"]))
    network.eval()
    make_exact(network)
    return network


def _write_qcdq(network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    example = torch.zeros(1, 2, FRAME)
    export_onnx_qcdq(
        network,
        args=example,
        export_path=str(path),
        dynamo=False,
        opset_version=17,
        input_names=["iq"],
        output_names=["logits"],
        dynamic_axes={"iq": {0: "N"}, "logits": {0: "N"}},
        keep_initializers_as_inputs=False,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _check_agreement(network: nn.Module, path: Path, run: Run) -> dict:
    """Compares onnxruntime on the file with the Brevitas module, on fresh frames of all classes and labels.

    The file is run node by node as it is written, and with all that onnxruntime makes of it by default. Raises
    TrainingError where a label or a logit differs: after ``make_exact`` all compute the same numbers.
    """
    levels = onnxruntime.GraphOptimizationLevel
    sessions = [_session(path, level) for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL)]
    count, different, largest = 0, 0, 0.0
    presets = run.presets(outliers=False)
    frames_per_pair = math.ceil(AGREEMENT_FRAMES / len(run.classes) / len(SNR_LABELS) / len(presets))
    for preset in presets:
        for _, frames, _ in every_pair(preset, frames_per_pair, AGREEMENT_SEED, torch.device("cpu")):
            ready = normalise(frames, run.normalise)
            ours = logits_of(network, ready).numpy()
            count += len(ours)
            differs = np.zeros(len(ours), bool)
            for session in sessions:
                theirs = np.concatenate([session.run(None, {"iq": part.numpy()})[0] for part in ready.split(256)])
                differs |= ours.argmax(1) != theirs.argmax(1)
                largest = max(largest, float(np.abs(ours - theirs).max()))
            different += int(differs.sum())
    if different or not largest <= LARGEST_LOGIT_DIFFERENCE:
        raise TrainingError(
            f"the exported model names {different} of {count} frames otherwise than the network, "
            f"with logits that differ by up to {largest:.1e}; this is a fault of the export."
        )
    return {"frames": count, "different_labels": different, "largest_logit_difference": largest}


def _session(path: Path, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _samples_per_symbol(run: Run) -> str:
    """What the run's signals have: a number, or the lowest and the highest with ".." between."""
    laws = {PRESETS[name].samples_per_symbol for name in run.presets(outliers=False)}
    ends = [end for law in laws for end in (law.values if isinstance(law, Choice) else (law.low, law.high))]
    low, high = min(ends), max(ends)
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def _test_parts(run: Run, preset: str) -> Iterator[Part]:
    if run.data and preset == TWIN:
        yield from open_run_dataset(run).parts("test")
        return
    for index, frames, snr in every_pair(preset, TEST_FRAMES_PER_PAIR, TEST_SEED, torch.device("cpu")):
        yield Part(frames.numpy(), np.full(len(frames), index), snr.numpy())


def _commands(content: dict, run: Run, checkpoint: str) -> str:
    """What makes the network again, from nothing."""
    names = [ancestor["name"] for ancestor in content["ancestors"]] + ([run.name] if run.stages else [])
    steps = [f"train training/configs/{name}.yaml" for name in names]
    if "prune" in content["commits"]:
        steps.append(f"prune training/configs/{run.name}.yaml")
    steps.append(f"export runs/{run.name}/{checkpoint} --out models/{run.name}")
    return " && ".join(f"python -m training {step}" for step in steps)


def _data(run: Run, preset: str) -> str:
    if run.data and preset == TWIN:
        return f"frames of the file {Path(run.data).name}, in the layout and with the split of RadioML 2018.01A"
    return PRESETS[preset].description


def _card(content: dict, run: Run, model: Path, costs: dict, temperature: float, agreement: dict) -> dict:
    presets = run.presets(outliers=False)
    frames_seen = content["batches_seen"] * run.batch
    return {
        "name": run.name,
        "description": run.description,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "classes": list(run.classes),
        "data": {name: _data(run, name) for name in presets},
        "recipe": dataclasses.asdict(run) | {"data": Path(run.data).name if run.data else None},
        "seed": run.seed,
        "ancestors": content["ancestors"],
        "commits": content["commits"] | {"export": source_commit()},
        "frames_seen": frames_seen + sum(ancestor["frames_seen"] for ancestor in content["ancestors"]),
        "temperature": temperature,
        "test": {
            "seed": TEST_SEED,
            "frames_per_pair": TEST_FRAMES_PER_PAIR,
            "presets": {name: evaluate(model, _test_parts(run, name), run.classes) for name in presets},
        },
        "cost": costs,
        "agreement_with_brevitas": agreement,
    }


def export(checkpoint: Path, out: Path) -> list[Path]:
    """Writes ``out``.onnx, ``out``.qonnx.onnx and ``out``.json, all three or none; raises TrainingError."""
    content = read_checkpoint(checkpoint)
    run = run_from_mapping(content["run"])
    network = _exportable(content, run)
    frames, classes = validation_frames(run, torch.device("cpu"))
    temperature = fit_temperature(logits_of(network, frames), classes)
    targets = [out.with_name(out.name + suffix) for suffix in (".onnx", ".qonnx.onnx", ".json")]
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's tracing warns of every shape it fixes
        qcdq, qonnx, card = (Path(folder) / target.name for target in targets)
        export_qonnx(network, args=torch.zeros(1, 2, FRAME), export_path=str(qonnx))
        costs = cost(qonnx)
        if run.normalise in PRODUCTS_BEFORE:
            costs["with_timing"] = cost_with_timing(costs, run.normalise)
        rejection = rejection_of(network, run, temperature)
        metadata = {
            "amc.classes": json.dumps(list(run.classes)),
            "amc.window": str(FRAME),
            "amc.normalise": run.normalise,
            "amc.temperature": repr(temperature),
            "amc.sample_per_symbol": _samples_per_symbol(run),
            "amc.cost": json.dumps({key: value for key, value in costs.items() if not isinstance(value, dict | list)}),
            "amc.trained_on": ", ".join(run.presets(outliers=False)),
            "amc.version": FORMAT_VERSION,
        }
        if rejection:
            metadata["amc.rejection"] = json.dumps({key: rejection[key] for key in ("score", "threshold")})
        _write_qcdq(network, qcdq, metadata)
        agreement = _check_agreement(network, qcdq, run)
        text = _card(content, run, qcdq, costs, temperature, agreement)
        text["rejection"] = rejection
        text["by_condition"] = by_condition(network, run)
        text["noise_confidence_quantiles"] = noise_confidence(network, run, temperature)
        text["command"] = _commands(content, run, checkpoint.name)
        card.write_text(json.dumps(text, indent=1) + "\n")
        for source, target in zip((qcdq, qonnx, card), targets, strict=True):
            os.replace(source, target)
    return targets
