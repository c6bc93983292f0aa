# SPDX-License-Identifier: GPL-3.0-or-later
"""Training, pruning, cost and export on a network too small to be good at anything."""

import json
import shutil
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from brevitas.nn import QuantReLU
from gnuradio.amc import load_model
from qonnx.core.modelwrapper import ModelWrapper

from tests.helpers.tiny_runs import CONFIG, Killed, same
from training import export
from training.__main__ import main
from training.batches import Batches
from training.calibration import fit_temperature
from training.config import differences, read_run, run_from_mapping
from training.cost import BASELINE_BIT_OPERATIONS, BASELINE_WEIGHT_BITS, cost, cost_with_timing
from training.data import normalise
from training.errors import TrainingError
from training.exact import make_exact
from training.networks import (
    NETWORKS,
    AllConvolutional,
    Bits,
    Branched,
    DeepConvolutional,
    ResidualSum,
    Separable,
    Strided,
    SymbolSpacedHidden,
    Vgg10,
    one_dimensional,
)
from training.prune import prune
from training.signals import CLASSES
from training.start import build_network
from training.train import Trainer, mixed_precision, read_checkpoint, release, train

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(run, folder)
    prune(run, folder)
    return folder


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_a_killed_run_goes_on_bit_for_bit(run, finished, tmp_path, monkeypatch, epochs):
    """Killed after some epochs, in the first stage and in the second, then resumed."""
    seen = 0
    log = Trainer._log

    def die_later(self, *arguments):
        nonlocal seen
        log(self, *arguments)
        seen += 1
        if seen > epochs:
            raise Killed

    monkeypatch.setattr(Trainer, "_log", die_later)
    with pytest.raises(Killed):
        train(run, tmp_path)
    monkeypatch.setattr(Trainer, "_log", log)
    train(run, tmp_path, resume=True)
    resumed, whole = (read_checkpoint(folder / "trained.pt") for folder in (tmp_path, finished))
    assert resumed["batches_seen"] == whole["batches_seen"] == 72
    assert same(resumed["network"], whole["network"])


def test_a_stage_ends_with_the_statistics_of_its_last_weights(run, finished):
    """Those of the first layer depend on no others: they are held against what it makes of the next frames."""
    content = read_checkpoint(finished / "trained.pt")
    network = build_network(run, Bits(**content["bits"]), images=True).eval()
    network.load_state_dict(content["network"])
    batches = Batches(run, torch.device("cpu"))
    count = 5  # a tenth of the last stage's 48
    device = torch.device("cpu")
    with torch.inference_mode(), mixed_precision(device):  # as training computes them
        outputs = []
        for number in range(content["batches_seen"], content["batches_seen"] + count):
            frames = normalise(batches.batch(run.sources, number)[0], run.normalise)
            signal = network.input_quantiser(frames)
            outputs.append(network.features[0](signal.unsqueeze(2)).float())
    normalisation = network.features[1]
    expected = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    torch.testing.assert_close(normalisation.running_mean, expected, rtol=1e-3, atol=1e-4)
    expected = torch.stack([output.var((0, 2, 3)) for output in outputs]).mean(0)
    torch.testing.assert_close(normalisation.running_var, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS.values())
def test_both_forms_of_a_network_are_one_function(network):
    torch.manual_seed(0)
    images, plain = (network(24, Bits(), filters=8, hidden=16, images=flag).eval() for flag in (True, False))
    plain.load_state_dict(one_dimensional(images.state_dict()))
    frames = torch.randn(5, 2, 1024)
    torch.testing.assert_close(images(frames), plain(frames), rtol=1e-4, atol=1e-5)


def test_every_layer_may_have_its_own_bits(tmp_path):
    from brevitas.export import export_qonnx

    weights, activations = (8, 7, 6, 5, 4, 3, 2, 4, 4, 8), (8, 4, 4, 3, 3, 2, 4, 5, 6)
    network = Vgg10(24, Bits(8, weights, activations), filters=4, hidden=8)
    for _ in range(12):
        network(torch.randn(8, 2, 1024))
    path = tmp_path / "mixed.qonnx.onnx"
    export_qonnx(network.eval(), args=torch.zeros(1, 2, 1024), export_path=str(path))
    inputs = (8, *activations)
    for layer, bits, arriving in zip(cost(path)["layers"], weights, inputs, strict=True):
        assert layer["weight_bits"] == bits * layer["nonzero_weights"]
        share = layer["nonzero_weights"] / layer["weights"]
        assert layer["bit_ops"] == pytest.approx(layer["macs"] * share * bits * arriving, rel=1e-6)
    with pytest.raises(TrainingError, match="given for 3 layers; the network has 10"):
        Vgg10(24, Bits(8, (4, 4, 4), 4))


def test_timing_is_billed_at_32_bits():
    # 61 segments of 16 sums of four samples, 4 apart, each of two rails times a window, and six products of what that
    # gives; the window of 16 is what has to be stored.
    segments = len(range(0, 1024 // 4 - 16 + 1, 4))
    billed = cost_with_timing({"bit_ops": BASELINE_BIT_OPERATIONS, "weight_bits": 0}, "timed")
    assert billed["bit_ops"] == segments * (16 * 2 + 6) * 32 * 32 == 2_373_632
    assert billed["weight_bits"] == 16 * 32
    expected = 0.5 + 0.5 * billed["bit_ops"] / BASELINE_BIT_OPERATIONS + 0.5 * 16 * 32 / BASELINE_WEIGHT_BITS
    assert billed["score"] == pytest.approx(expected, abs=1e-6)
    compressed = cost_with_timing({"bit_ops": 0, "weight_bits": 0}, "timed_compressed")
    # The square of each of 2 x 1024 values, and what divides it.
    assert compressed["bit_ops"] == billed["bit_ops"] + (2048 + 2048) * 32 * 32
    turned = cost_with_timing({"bit_ops": 0, "weight_bits": 0}, "timed_turned")
    # A filter of 24 taps and 34 products for the powers of each of 128 symbols; four orders with 3, 5, 6 and 8
    # frequencies of 0 and above, 2, 4, 5 and 7 below, at 8 sums; and two complex products a sample.
    symbols, lines, samples = 128 * (48 + 34), (3 + 5 + 6 + 8) * 8 * (4 + 4) + (5 + 9 + 11 + 15) * 4, 1024 * 8
    assert turned["bit_ops"] == compressed["bit_ops"] + (symbols + lines + samples) * 32 * 32
    assert turned["weight_bits"] == billed["weight_bits"] + (12 + 2 * 8) * 32


def test_a_residual_sum_is_one_of_integers_of_one_scale():
    network = _learned(Bits(4, 4, 4), Separable, filters=8)
    residual = network.features[6]
    with torch.inference_mode():
        given = network.features[:6](network.input_quantiser(torch.randn(8, 2, 1024)))
        step = residual.rectifier.act_quant.scale()
        before, added = torch.round(given / step), torch.round(residual.body(given) / step)
        expected = (before + added).clamp(0, 15)
        torch.testing.assert_close(residual(given), expected * step, rtol=0, atol=1e-6)
    assert before.min() == 0 and added.min() < 0 < added.max() <= 15
    with pytest.raises(TrainingError, match="a residual sum of 5 bits adds to a tensor of other bits"):
        Separable(24, Bits(4, 4, (4, 4, 4, 5, 4, 4, 4, 4, 4, 4)))


def test_no_tensor_of_a_residual_network_costs_32_bits(tmp_path):
    from brevitas.export import export_qonnx

    network = _learned(Bits(8, 4, 5), Separable, filters=8)
    path = tmp_path / "separable.qonnx.onnx"
    export_qonnx(network, args=torch.zeros(1, 2, 1024), export_path=str(path))
    result = cost(path)  # which refuses what is billed at 32 bits
    weights = [27 * 2, 2 * 8, 21 * 8, 8 * 8, 15 * 8, 8 * 16, 9 * 16, 16 * 16, 9 * 16, 16 * 16, 16 * 24]
    samples = [512, 512, 512, 512, 256, 256, 256, 256, 128, 128, 1]
    arriving = [8, *[5] * 10]
    assert [layer["macs"] for layer in result["layers"]] == [w * n for w, n in zip(weights, samples, strict=True)]
    assert result["dense_bit_ops"] == sum(w * n * 4 * b for w, n, b in zip(weights, samples, arriving, strict=True))


def test_pooling_before_the_quantiser_is_the_same_function():
    from training.networks import _relu

    torch.manual_seed(1)
    relu, pool = _relu(4), torch.nn.MaxPool1d(2)
    for _ in range(20):
        relu(torch.randn(4, 8, 64))
    relu.eval()
    values = torch.randn(4, 8, 64)
    torch.testing.assert_close(relu(pool(values)), pool(relu(values)), rtol=0, atol=0)


def _learned(bits, kind=Vgg10, **options):
    """A network that has seen frames, so that its quantisers know their ranges."""
    torch.manual_seed(5)
    network = kind(24, bits, **options)
    for _ in range(12):
        network(torch.randn(16, 2, 1024))
    return network.eval()


@pytest.mark.parametrize("scale_per_filter", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        (Vgg10, Bits(4, 4, 4)),
        (Vgg10, Bits(8, 8, 8)),
        (Vgg10, Bits(8, (8, 7, 6, 5, 4, 3, 2, 4, 4, 8), 5)),
        (AllConvolutional, Bits(4, 4, 4)),
        (AllConvolutional, Bits(8, 8, 8)),
        (Separable, Bits(4, 4, 4)),
    ],
)
def test_an_exact_network_is_the_one_before(kind, bits, scale_per_filter):
    """Layer by layer the same codes, but for the few that lie on an edge; its logits times a constant."""
    network = _learned(bits, kind, filters=8, hidden=16, scale_per_filter=scale_per_filter)
    exact = deepcopy(network)
    make_exact(exact)
    frames = torch.randn(64, 2, 1024, generator=torch.Generator().manual_seed(1))
    first, other = network.input_quantiser(frames), exact.input_quantiser(frames)
    with torch.inference_mode():
        for one, its_form in zip([*network.features, *network.head], [*exact.features, *exact.head], strict=True):
            if "Linear" in type(one).__name__ or "Conv" in type(one).__name__:
                scale, codes = (layer.quant_weight().scale for layer in (one, its_form)), []
                for layer, step in zip((one, its_form), scale, strict=True):
                    codes.append(torch.round(layer.quant_weight().value / step))
                assert torch.equal(*codes)
            first, other = one(first), its_form(other)
            if isinstance(one, QuantReLU | ResidualSum):
                units = (getattr(unit, "rectifier", unit) for unit in (one, its_form))
                steps = [unit.act_quant.scale() for unit in units]
                assert float(steps[1]) == 2.0 ** round(float(torch.log2(steps[1])))
                codes = torch.round(first / steps[0]), torch.round(other / steps[1])
                assert (codes[0] - codes[1]).abs().max() <= 1
                assert (codes[0] != codes[1]).float().mean() < 5e-3
                other = codes[0] * steps[1]  # so that the next layer is judged by itself
    gain = (first * other).sum() / (first * first).sum()
    torch.testing.assert_close(other / gain, first, rtol=1e-4, atol=1e-4)


def test_an_exact_network_does_not_care_in_which_order_it_adds():
    """Single and double precision name the same codes: nothing is rounded on the way."""
    exact = _learned(Bits(4, 4, 4))
    make_exact(exact)
    frames = torch.randn(32, 2, 1024, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        single, double = exact(frames), deepcopy(exact).double()(frames.double())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


PER_FILTER = {"scale_per_filter": True}


@pytest.mark.parametrize(
    ("kind", "bits", "options"),
    [
        (Vgg10, Bits(4, 4, 4), {}),
        (Vgg10, Bits(4, 4, 4), PER_FILTER),
        (Vgg10, Bits(8, 8, 8), {}),
        (Vgg10, Bits(8, 8, 8), PER_FILTER),
        (Strided, Bits(8, 4, 5), PER_FILTER),
        (AllConvolutional, Bits(4, 4, 4), PER_FILTER),
        (AllConvolutional, Bits(8, 8, 8), {}),
        (DeepConvolutional, Bits(8, 4, 5), PER_FILTER),
        (SymbolSpacedHidden, Bits(6, 4, 4), {"filters": 8, **PER_FILTER}),
        (SymbolSpacedHidden, Bits(7, 5, 5), PER_FILTER),
        (Separable, Bits(4, 4, 4), PER_FILTER),
        (Separable, Bits(8, 6, 6), {}),
        (Branched, Bits(6, 6, 6), PER_FILTER),
    ],
)
def test_an_exact_network_is_the_same_in_another_runtime(kind, bits, options, tmp_path):
    exact = _learned(bits, kind, **options)
    make_exact(exact)
    path = tmp_path / "exact.onnx"
    export._write_qcdq(exact, path, {"amc.version": "1"})
    frames = torch.randn(400, 2, 1024, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        ours = torch.cat([exact(part) for part in frames.split(100)]).numpy()
    np.testing.assert_array_equal(load_model(path, runtime="native", classes=CLASSES).run(frames.numpy()), ours)
    # What a MatMul multiplies by few bits, onnxruntime rounds to 8 bits first; frames of noise are too alike to tell.
    assert "MatMul" not in {node.op_type for node in onnx.load(path).graph.node}
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(str(path), options)
        theirs = np.concatenate([session.run(None, {"iq": part.numpy()})[0] for part in frames.split(100)])
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (Vgg10, 0),
        (Vgg10, 1),
        (Vgg10, 3),
        (AllConvolutional, 1),
        (AllConvolutional, 15),
        (AllConvolutional, 16),
        (Separable, 2),
    ],
)
def test_other_layers_are_not_made_exact(kind, place):
    network = _learned(Bits(4, 4, 4), kind, filters=4, hidden=8)
    network.features[place] = torch.nn.Identity()
    with pytest.raises(TrainingError, match="only chains of quantised layers"):
        make_exact(network)


# --- cost and export ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(finished):
    out = finished / "models" / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "TEST_FRAMES_PER_PAIR", 2)
        assert main(["export", str(finished / "pruned.pt"), "--out", str(out)]) == 0
    return out


def test_export_writes_a_file_that_needs_nothing_else(exported, run):
    from gnuradio.amc import load_model

    model = load_model(f"{exported}.onnx")
    assert (len(model.classes), model.window, model.normalise) == (24, 1024, "unit_power")
    card = json.loads(Path(f"{exported}.json").read_text())
    assert card["temperature"] == pytest.approx(model.temperature)
    assert card["agreement_with_brevitas"]["different_labels"] == 0
    assert card["agreement_with_brevitas"]["largest_logit_difference"] == 0.0
    assert card["agreement_with_brevitas"]["frames"] >= 20_000
    assert sorted(path.name for path in exported.parent.iterdir()) == ["tiny.json", "tiny.onnx", "tiny.qonnx.onnx"]


def test_a_float_network_is_not_exported(run, tmp_path, capsys):
    train(replace(run, stages=run.stages[:1]), tmp_path)
    assert main(["export", str(tmp_path / "trained.pt"), "--out", str(tmp_path / "models" / "float")]) == 1
    assert capsys.readouterr().err.endswith(
        "training: the checkpoint holds a float network; train a stage with bits, then export that.\n"
    )
    assert not (tmp_path / "models").exists()


def test_folders_that_cannot_be_made_get_a_sentence(finished, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    capsys.readouterr()
    assert main(["train", str(path), "--runs", str(path)]) == 1
    assert main(["export", str(finished / "pruned.pt"), "--out", str(path / "models" / "tiny")]) == 1
    error = capsys.readouterr().err
    assert error.count("cannot be made") == error.count("\n") == 2


def test_qonnx_executes_to_the_same_logits(exported):
    import onnx
    import qonnx.core.onnx_exec as executor
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(onnx.load(f"{exported}.qonnx.onnx")).transform(InferShapes())
    session = onnxruntime.InferenceSession(f"{exported}.onnx")
    frames = np.random.default_rng(0).normal(size=(3, 2, 1024)).astype(np.float32)
    for frame in frames:
        given = {model.graph.input[0].name: frame[None]}
        theirs = executor.execute_onnx(model, given)[model.graph.output[0].name]
        np.testing.assert_allclose(theirs, session.run(None, {"iq": frame[None]})[0], atol=1e-4)
        assert theirs.argmax() == session.run(None, {"iq": frame[None]})[0].argmax()


def test_cost_counts_what_the_rules_say(exported, finished):
    """Worked out by hand from the shapes, the bits and the weights that survive quantisation."""
    result = cost(Path(f"{exported}.qonnx.onnx"))
    content = read_checkpoint(finished / "pruned.pt")
    lengths = [1024 // 2**i for i in range(7)]
    names = [f"features.{4 * i}" for i in range(7)] + ["head.1", "head.4", "head.7"]
    outputs_in_time = [*lengths, 1, 1, 1]
    assert result["macs"] == sum(
        content["network"][f"{name}.weight"].numel() * time for name, time in zip(names, outputs_in_time, strict=True)
    )
    for layer, name, time in zip(result["layers"], names, outputs_in_time, strict=True):
        weight = content["network"][f"{name}.weight"]
        codes = torch.round(weight / (weight.abs().max() / 7)).clamp(-7, 7)  # 4 bits, narrow range
        nonzero = int((codes != 0).sum())
        assert layer["nonzero_weights"] == nonzero
        assert layer["weight_bits"] == 4 * nonzero
        assert layer["bit_ops"] == 16 * nonzero * time
    assert result["score"] == pytest.approx(
        0.5 * result["bit_ops"] / 807_699_904 + 0.5 * result["weight_bits"] / 1_244_936, abs=1e-6
    )


def test_the_baseline_costs_exactly_one(shared, tmp_path):
    from brevitas.export import export_qonnx

    theirs = torch.load(shared / "reference" / "vgg10_w8a8_radioml2018.pth", map_location="cpu", weights_only=False)
    theirs = theirs.get("state_dict", theirs)
    network = Vgg10(24, Bits(8, 8, 8))
    ours = [name for name in network.state_dict() if "act_quant" not in name]
    plain = [value for name, value in theirs.items() if "act_quant" not in name]
    ranges = [value for name, value in theirs.items() if "act_quant" in name]
    scale = "act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl.value"
    relus = [f"features.{4 * i + 3}" for i in range(7)] + ["head.3", "head.6"]
    state = dict(zip(ours, plain, strict=True))
    state |= {f"{name}.{scale}": value for name, value in zip(relus, ranges, strict=True)}
    network.load_state_dict(state)
    path = tmp_path / "baseline.qonnx.onnx"
    export_qonnx(network.eval(), args=torch.zeros(1, 2, 1024), export_path=str(path))
    result = cost(path)
    assert (result["bit_ops"], result["weight_bits"]) == (807_699_904, 1_244_936)
    assert (result["dense_bit_ops"], result["dense_weight_bits"]) == (823_328_768, 1_272_832)
    assert (result["macs"], result["nonzero_weights"], result["score"]) == (12_864_512, 155_617, 1.0)

    # The network is the published one, not only its cost: the same logits from its published file.
    qcdq = tmp_path / "baseline.onnx"
    export._write_qcdq(network, qcdq, {"amc.version": "1"})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    published = onnxruntime.InferenceSession(str(shared / "reference" / "vgg10_w8a8_radioml2018.onnx"), options)
    frames = np.random.default_rng(1).normal(size=(64, 2, 1024)).astype(np.float32)
    mine = onnxruntime.InferenceSession(str(qcdq), options).run(None, {"iq": frames})[0]
    reference = published.run(None, {published.get_inputs()[0].name: frames})[0]
    np.testing.assert_allclose(mine, reference, atol=1e-3)


def test_float_models_are_not_scored(tmp_path):
    path = tmp_path / "float.onnx"
    torch.onnx.export(Vgg10(24, Bits(), filters=4, hidden=8).eval(), torch.zeros(1, 2, 1024), str(path), dynamo=False)
    with pytest.raises(TrainingError, match="multiplies tensors of type FLOAT32; quantise them first"):
        cost(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.onnx", None), ("model.onnx", b""), ("model.onnx", b"nonsense"), ("card.json", b'{"name": "x"}')],
)
def test_cost_of_something_else(tmp_path, capsys, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert main(["cost", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"training: the model {path}")
    assert error.count("\n") == 1


def test_the_qcdq_form_of_a_network_is_not_scored(exported, capsys):
    """Its number of frames is open and its weights are held in 8 bits: no products, and too many bits."""
    assert main(["cost", f"{exported}.onnx"]) == 1
    error = capsys.readouterr().err
    assert error == (
        f"training: the model {exported}.onnx hides widths under 8 bits from the cost; give its .qonnx.onnx file.\n"
    )


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_model_without_layers_that_can_be_counted_is_not_scored(batch, exported, tmp_path, capsys):
    import onnx
    from onnx import TensorProto, helper

    path = tmp_path / "model.onnx"
    if batch == "N":
        model = onnx.load(f"{exported}.qonnx.onnx")
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = batch
        del model.graph.value_info[:]
    else:
        ends = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 4]) for name in "xy")
        node = helper.make_node("Relu", ["x"], ["y"])
        model = helper.make_model(helper.make_graph([node], "rectifier", *([end] for end in ends)))
    onnx.save(model, path)
    assert main(["cost", str(path)]) == 1
    error = capsys.readouterr().err
    assert f"the model {path} has no layers that can be counted" in error
    assert error.count("\n") == 1


def test_the_temperature_undoes_a_known_one():
    """Labels drawn from softmax(logits / 3): the fitted temperature is 3."""
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(20_000, 5, generator=generator)
    classes = torch.multinomial(torch.softmax(logits / 3, 1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, classes) == pytest.approx(3.0, rel=0.05)


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (("seed: 3", "sead: 3"), "has no setting 'sead'"),
        (("seed: 3", ""), "lacks the setting 'seed'"),
        (("seed: 3", "seed: three"), "seed is 'three'"),
        (("preset: radioml2018", "preset: real"), "preset 'real' is unknown"),
        (("snr: [0, 30]", "snr: [30, 0]"), "the lower one first"),
        (("snr: [0, 30]", "snr: [1, 30]"), "in steps of 2"),
        (("share: 1", "share: 0"), "must be above zero"),
        (("batch: 4", "batch: -4"), "batch of the run is -4"),
        (("frames: 96", "frames: 0"), "frames of the stage float is 0"),
        (("share: 0.2", "share: 1.0"), "must lie between 0 and 1"),
        (("seed: 3", "seed: 3\nnormalise: agc"), "normalise 'agc' is unknown"),
        (("filters: 4", "width: 4"), "network 'vgg10' has no option 'width'"),
        (("name: tiny", "name: \xff"), "is not valid YAML"),
        (("snr: [0, 30]", "classes: [QPSK, 7PSK]"), "has no class '7PSK'"),
        (("name: tiny", "name: tiny\nnetwork: resnet"), "network 'resnet' is unknown"),
        (("snr: [0, 30]", "snr: [0]"), "snr"),
        (("frames_per_epoch: 48", "frames_per_epoch: 40"), "an epoch must hold more than 10 batches"),
        (("sources:", "sources: ["), "is not valid YAML"),
        (("weight: 4, activation: 4}}", "weight: 40, activation: 4}}"), "outside 2..8"),
        (("weight: 4, activation: 4}}", "weight: [4, 40], activation: 4}}"), "outside 2..8"),
        (
            ("weight: 4, activation: 4}}", "weight: [4, 4], activation: 4}}"),
            "bit widths of weight are given for 2 layers",
        ),
        (("weight: 4, activation: 4}}", "weight: four, activation: 4}}"), "weight is 'four'"),
        (("weight: 4, activation: 4}}", "weight: [4, x], activation: 4}}"), "weight[1] is 'x'"),
        (("seed: 3", "seed: 18446744073709551616"), "from 0 to 2^63 - 1"),
        (("seed: 3", "seed: true"), "seed is True"),
        (("rate: 1.0e-3", "rate: true"), "rate is True"),
        (("rate: 1.0e-3", "rate: .inf"), "rate of the stage float is inf; it must be above zero and finite"),
        (("share: 1", "share: .inf"), "share of a source is inf"),
        (("seed: 3", "seed: 3\n3: three\nyes: 1"), "has no setting '3'"),
        (("filters: 4", "filters: 4, 3: three, width: 1"), "network 'vgg10' has no option '3'"),
        (("filters: 4", "filters: four"), "network_options.filters is 'four'"),
        (("filters: 4", "filters: 2.5"), "network_options.filters is 2.5"),
        (("filters: 4", "filters: 0"), "filters of network_options is 0"),
        (("hidden: 8", "hidden: -1"), "hidden of network_options is -1"),
        (("filters: 4", "filters: 4, input_range: 0"), "input_range of network_options is 0"),
        (("filters: 4", "filters: 4, scale_per_filter: maybe"), "network_options.scale_per_filter is 'maybe'"),
        (("name: tiny", "name: ''"), "the name of the run is ''"),
        (("name: tiny", "name: .."), "the name of the run is '..'"),
        (("name: tiny", "name: a/b"), "the name of the run is 'a/b'"),
        (("name: tiny", 'name: "a\\0"'), "the name of the run is 'a\\x00'"),
        (("batch: 4", "batch: 1"), "gives each of 1 processes one"),
    ],
)
def test_mistakes_in_a_configuration_are_one_sentence(tmp_path, capsys, change, part):
    path = tmp_path / "run.yaml"
    path.write_bytes(CONFIG.replace(*change, 1).encode("latin-1"))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.startswith("training: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_one_and_bears_the_name_of_its_run(path):
    run = read_run(path)
    assert run.name == path.stem  # which the commands of a card go by
    for other in filter(None, (run.start, run.teacher and run.teacher.name)):
        assert (CONFIGS / f"{other}.yaml").exists()


def test_a_checkpoint_holds_the_whole_configuration(run):
    mixed = replace(run.stages[1], bits=Bits(8, (8, 4, 4, 4, 4, 4, 4, 4, 4, 8), 4))
    written = replace(run, stages=(run.stages[0], mixed))
    assert run_from_mapping(asdict(written)) == written


def test_a_run_that_goes_on_says_which_of_its_settings_are_others(run, finished, tmp_path, capsys):
    shutil.copy(finished / "trained.pt", tmp_path)
    train(run, tmp_path, resume=True)
    assert "other settings" not in capsys.readouterr().out
    faster = replace(
        run,
        stages=(run.stages[0], replace(run.stages[1], rate=0.5)),
        network_options=run.network_options | {"scale_per_filter": True},
    )
    assert differences(run, faster) == [
        f"stages.1.rate is 0.5, was {run.stages[1].rate}",
        "network_options.scale_per_filter is True, was None",
    ]
    assert differences(run, replace(run, stages=run.stages[:1]))[0].startswith("stages.1 is None, was {")
    train(replace(run, seed=run.seed + 1), tmp_path, resume=True)
    assert f"goes on with other settings: seed is {run.seed + 1}, was {run.seed}" in capsys.readouterr().out


def test_steps_in_the_wrong_order(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    assert main(["prune", str(path), "--runs", str(tmp_path)]) == 1
    assert "run the earlier step of this run first" in capsys.readouterr().err
    assert main(["train", str(path), "--runs", str(tmp_path), "--resume"]) == 1
    assert main(["train", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(run, tmp_path, monkeypatch):
    step, steps = Trainer._step, 0

    def spoil(self, *arguments):
        nonlocal steps
        steps += 1
        return step(self, *arguments) * (float("nan") if steps == 20 else 1)

    monkeypatch.setattr(Trainer, "_step", spoil)
    with pytest.raises(TrainingError, match="the loss of float is nan before batch 24 of 24"):
        train(run, tmp_path)
    kept = read_checkpoint(tmp_path / "trained.pt")
    assert kept["batches_done"] == 12
    assert all(torch.isfinite(value).all() for value in kept["network"].values())


@pytest.mark.parametrize("content", [b"", b"damaged", Killed()])
def test_a_damaged_checkpoint(run, tmp_path, content):
    path = tmp_path / "trained.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(TrainingError, match="cannot be read .*[^(]; delete it") as caught:
        train(run, tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_a_run_goes_on_only_from_what_the_same_step_wrote(run, finished, tmp_path):
    """Not from what was released, which lacks the optimiser's state, nor from another step's checkpoint."""
    for name in ("trained.pt", "pruned.pt"):
        (tmp_path / name).write_bytes((finished / "round-01.pt").read_bytes())
    with pytest.raises(TrainingError, match="trained.pt is none that this step wrote; run it without --resume"):
        train(run, tmp_path, resume=True)
    release(finished / "trained.pt", tmp_path / "trained.pt")
    with pytest.raises(TrainingError, match="trained.pt is none that this step wrote"):
        train(run, tmp_path, resume=True)
    (tmp_path / "pruned.pt").write_bytes((finished / "trained.pt").read_bytes())
    with pytest.raises(TrainingError, match="pruned.pt is none that this step wrote"):
        prune(run, tmp_path, resume=True)


def test_a_log_that_cannot_be_written(run, tmp_path):
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(TrainingError, match="log.csv cannot be written: Is a directory; make room"):
        train(run, tmp_path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"network": {}}])
def test_a_foreign_checkpoint(tmp_path, capsys, content):
    torch.save(content, tmp_path / "foreign.pt")
    for command in ("export", "release"):
        assert main([command, str(tmp_path / "foreign.pt"), "--out", str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert error == f"training: the file {tmp_path}/foreign.pt is not a checkpoint of this version; train again.\n"


def test_a_checkpoint_of_another_network(run, finished, tmp_path):
    (tmp_path / "trained.pt").write_bytes((finished / "trained.pt").read_bytes())
    wider = replace(run, network_options={"filters": 6, "hidden": 8})
    with pytest.raises(TrainingError, match="another network"):
        train(wider, tmp_path, resume=True)
