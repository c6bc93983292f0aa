# SPDX-License-Identifier: GPL-3.0-or-later
"""That the benchmarks run from end to end and write what they promise; what they measure is not looked at."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.helpers.tiny_models import write_model
from tests.helpers.tiny_runs import CONFIG

pytest.importorskip("brevitas", reason="the benchmarks compare with a network of the training package")

from tests.bench import layers, networks  # noqa: E402
from tests.bench.__main__ import main  # noqa: E402
from tests.bench.measure import TINY  # noqa: E402
from tests.bench.openvino_runtime import INSTALLED  # noqa: E402
from tests.bench.released import CARDS  # noqa: E402


@pytest.fixture
def small_vgg10(tmp_path):
    import onnx

    path, recipe = tmp_path / "small.onnx", yaml.safe_load(CONFIG) | {"network_options": {"filters": 2, "hidden": 4}}
    path.with_suffix(".json").write_text(json.dumps({"recipe": recipe}))
    networks.write_counterpart(path, path)
    model = onnx.load(path)
    names = json.dumps([f"class {index}" for index in range(24)])
    onnx.helper.set_model_props(model, {"amc.classes": names, "amc.normalise": "unit_power"})
    onnx.save(model, path)
    return path


def test_a_run_reports_every_figure(small_vgg10, tmp_path, capfd):
    target = tmp_path / "bench.json"
    assert main(["--tiny", "--model", str(small_vgg10), "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    assert {"processor", "cores", "gnuradio", "onnxruntime", "numpy", "python"} <= report["machine"].keys()
    assert report["model"]["name"] == "small"
    assert len(report["verified"]) == (5 if INSTALLED else 3)

    both = {
        (network, batch, threads)
        for network in ("onnxruntime", "float32", *(("openvino", "openvino float32") if INSTALLED else ()))
        for batch in (1, 8, 32, 128)
        for threads in (1, 2)
    }
    assert {(row["network"], row["batch"], row["threads"]) for row in report["runtimes"]} == both
    assert {(row["what"], row["threads"]) for row in report["block"]} == {
        (what, threads) for what in ("runtime", "block", "block behind another") for threads in (1, 2)
    }
    assert report["latency"]["seconds"].keys() == {"min", "median", "max", "percentile_99"}
    fast = report["fast_receiver"]
    assert fast["windows"] == round(TINY.latency_seconds * 20e6) // 1024 and 0 <= fast["dropped"] <= fast["windows"]
    assert [look["samples"] for look in report["memory"]["looks"]] == [10**5 * tenth for tenth in range(1, 11)]
    assert sum("aim" in ratio for ratio in report["ratios"]) == 10
    assert len(report["signals"]) == 12
    costs = [row["cost"] for row in report["released"]]
    assert costs == sorted(costs)
    assert {path.stem for path in CARDS.glob("*.json")} == {row["network"] for row in report["released"]}
    assert all(0 < figures["min"] for row in report["released"] for figures in row["msps"].values())
    for figures in [*report["ratios"], *(row["msps"] for row in report["runtimes"] + report["block"])]:
        assert 0 < figures["min"] <= figures["median"] <= figures["max"]

    text = capfd.readouterr().out
    assert (
        text.index("RATIO")
        < text.index("MSPS")
        < text.index("RELEASED NETWORKS")
        < text.index("FRAMES A SECOND")
        < text.index("LATENCY")
        < text.index("LIVE at")
        < text.index("RESIDENT MEMORY")
    )


def test_a_network_without_a_card_is_refused_in_a_sentence(tmp_path, capfd):
    model, target = write_model(tmp_path / "linear.onnx"), tmp_path / "bench.json"
    assert main(["--tiny", "--model", str(model), "--json", str(target)]) == 1
    assert "linear.onnx has no card linear.json beside it" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [model]


def test_the_engines_layers_are_counted_and_timed():
    from gnuradio.amc.model import MODELS

    path = MODELS / "vgg10-w4a4-imp10.onnx"
    card = json.loads((Path(__file__).parents[2] / "models" / "vgg10-w4a4-imp10.json").read_text())
    rows = layers.measure(path, np.ones((3, 2, 1024), np.float32), TINY)
    assert [row["layer"] for row in rows] == ["input", *(f"layer {n}" for n in range(1, 10)), "logits"]
    assert sum(row["nonzero_weights"] for row in rows) == card["cost"]["nonzero_weights"]
    # Of a convolution with padding 1, the sums are as many as the samples: 1024, halved by each pool before.
    assert rows[2]["products"] == 512 * rows[2]["nonzero_weights"]
    assert rows[9]["products"] == rows[9]["nonzero_weights"]
    assert all(row["nanoseconds"] > 0 for row in rows)
