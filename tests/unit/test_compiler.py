# SPDX-License-Identifier: GPL-3.0-or-later
"""From ONNX files to integers, against onnxruntime on the same files."""

import random
import time

import numpy as np
import onnxruntime
import pytest
from gnuradio.amc import _engine, load_model
from gnuradio.amc.compiler import CannotCompile, compile_model
from gnuradio.amc.errors import AmcError
from gnuradio.amc.model import MODELS
from gnuradio.amc.native import NativeRuntime, build
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.quantised_models import Graph
from tests.helpers.tiny_models import write_model

FUZZ_SECONDS = 10.0


def onnxruntime_on(path, frames):
    """Logits of the file as it is written, node by node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"iq": frames})[0]


def powers_of_two(rng, size=None):
    """Scales with which float32 is exact, so that onnxruntime's own order of adding does not matter."""
    return 2.0 ** rng.integers(-5, 0, size)


def normalisation(graph, rng, channels):
    """Batch normalisation with short factors of either sign, or its product and sum as nodes of their own."""
    factor, offset = (
        rng.integers(1, 17, channels) / 8 * rng.choice([-1, 1], channels),
        rng.integers(-9, 9, channels) / 4,
    )
    if rng.random() < 0.5:
        zeros, ones = np.zeros(channels), np.ones(channels)
        constants = [graph.constant(value) for value in (factor, offset, zeros, ones)]
        return graph.node("BatchNormalization", *constants, epsilon=0.0)
    shape = (1, channels, 1)
    return graph.node("Mul", graph.constant(factor.reshape(shape))).node("Add", graph.constant(offset.reshape(shape)))


def random_graph(rng) -> Graph:
    graph = Graph(length=int(rng.integers(16, 80)))
    channels, length = 2, graph.length
    graph.quantise(powers_of_two(rng), -8, 7)
    for _ in range(int(rng.integers(1, 4))):
        kernel, stride = int(rng.integers(1, min(5, length) + 1)), int(rng.integers(1, 3))
        pads = [int(rng.integers(0, kernel)) for _ in range(2)]
        groups = int(rng.choice([g for g in (1, 2) if channels % g == 0]))
        outputs = groups * int(rng.integers(1, 5))
        codes = rng.integers(-7, 8, (outputs, channels // groups, kernel))
        scale = powers_of_two(rng, outputs if rng.random() < 0.5 else None)
        bias = [graph.constant(rng.integers(-9, 9, outputs) / 4)] if rng.random() < 0.5 else []
        graph.node("Conv", graph.weights(codes, scale), *bias, pads=pads, strides=[stride], group=groups)
        length, channels = (length + sum(pads) - kernel) // stride + 1, outputs
        normalisation(graph, rng, channels)
        pool = int(rng.integers(1, min(3, length) + 1))
        place = rng.choice(["before", "after", "behind"])
        if place == "before":
            graph.node("MaxPool", kernel_shape=[pool], strides=[pool])
        graph.node("Relu")
        if place == "after":
            graph.node("MaxPool", kernel_shape=[pool], strides=[pool])
        graph.quantise(powers_of_two(rng), 0, 15, np.uint8)
        if place == "behind":
            graph.node("MaxPool", kernel_shape=[pool], strides=[pool])
        length //= pool
    graph.node("Flatten", axis=1)
    features = channels * length
    if rng.random() < 0.5:
        weights = graph.weights(rng.integers(-7, 8, (6, features)), powers_of_two(rng))
        before, graph.at = graph.at, weights
        turned = graph.node("Transpose", perm=[1, 0]).at
        graph.at = before
        graph.node("MatMul", turned).node("Relu").quantise(powers_of_two(rng), 0, 15, np.uint8)
        features = 6
    weights = graph.weights(rng.integers(-7, 8, (3, features)), powers_of_two(rng))
    return graph.node("Gemm", weights, graph.constant(rng.integers(-9, 9, 3) / 4), transB=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@given(st.integers(0, 2**32 - 1))
def test_any_chain_gives_what_onnxruntime_gives(folder, seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    path = graph.save(folder / "graph.onnx", 3)
    frames = (3 * rng.normal(size=(8, 2, graph.length))).astype(np.float32)
    np.testing.assert_array_equal(NativeRuntime(path, 1).run(frames), onnxruntime_on(path, frames))


def every_code(scale):
    """A layer of kernel 1 on every code of the input, and a frame that holds them all: every sum that there is."""
    graph = Graph(length=256, channels=2).quantise(1.0, -128, 127)
    graph.node("Conv", graph.weights([[[3], [0]], [[-5], [0]]], scale))
    return graph, np.tile(np.arange(-128, 128, dtype=np.float32), (1, 2, 1))


@given(
    st.sampled_from([0.25, 1.0, 2.0**-10, 8.0]),
    st.floats(-3, 3).filter(lambda factor: abs(factor) > 1e-3),
    st.floats(-100, 100),
    st.floats(0.01, 5),
)
def test_every_reachable_sum_gets_the_code_of_the_float_definition(folder, scale, factor, offset, step):
    """The codes of all sums against onnxruntime's own quantiser behind the same float operations."""
    graph, frames = every_code(np.float32(scale))
    graph.node("Mul", graph.constant(factor)).node("Add", graph.constant(offset)).node("Relu")
    graph.quantise(step, 0, 255, np.uint8)
    quantised = graph.at
    onnx_path = graph.save(folder / "codes.onnx", 2, 256)
    graph.at = quantised
    graph.node("Flatten", axis=1)
    graph.node("Gemm", graph.weights(np.ones((1, 512), np.int64), 1.0), transB=1)
    engine = build(compile_model(graph.save(folder / "whole.onnx", 1)))
    expected = np.rint(onnxruntime_on(onnx_path, frames) / np.float32(step))
    np.testing.assert_array_equal(engine.codes(frames, 1), expected)


def residual_graph(rng, low, high, ratios, relu=True) -> Graph:
    """Blocks of one or two convolutions, with the tensor before added, some with a convolution on that too."""
    kind = np.int8 if low < 0 else np.uint8
    graph = Graph(length=int(rng.integers(16, 50))).quantise(0.25, low, min(high, 127))
    scale = 0.25
    channels = int(rng.choice([2, 3, 4, 6]))

    def convolution(outputs, inputs, kernel, scale, groups=1):
        weights = graph.weights(rng.integers(-7, 8, (outputs, inputs, kernel)), powers_of_two(rng))
        graph.node("Conv", weights, pads=[kernel // 2] * 2, group=groups)
        normalisation(graph, rng, outputs).quantise(scale, low, high, kind)

    convolution(channels, 2, 5, scale)
    for ratio in ratios:
        skipped, before = graph.at, scale
        if rng.random() < 0.5:
            convolution(channels, 1, 3, powers_of_two(rng), groups=channels)
        convolution(channels, channels, int(rng.choice([1, 3])), scale * ratio)
        branch = graph.at
        if rng.random() < 0.3:
            graph.at = skipped
            convolution(channels, channels, 1, before)
            skipped = graph.at
        graph.at, other = (branch, skipped) if rng.random() < 0.5 else (skipped, branch)
        graph.node("Add", other)
        if relu:
            graph.node("Relu")
        scale = scale * 2.0 ** int(rng.integers(-1, 3))
        graph.quantise(scale, low, high, kind)
    pool = int(rng.choice([1, 2, graph.length]))
    if pool > 1:
        graph.node("MaxPool", kernel_shape=[pool], strides=[pool])
    if rng.random() < 0.5:
        convolution(channels, channels, 3, scale)
        graph.node("GlobalMaxPool")
        pool = graph.length
    graph.node("Flatten", axis=1)
    weights = graph.weights(rng.integers(-7, 8, (3, channels * (graph.length // pool))), powers_of_two(rng))
    return graph.node("Gemm", weights, graph.constant(rng.integers(-9, 9, 3) / 4), transB=1)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0, 15), (-8, 7), (-128, 127), (0, 3)]),
    st.lists(st.sampled_from([1, 2, 0.25, 16]), min_size=1, max_size=4),
    st.booleans(),
)
@settings(max_examples=30)
def test_residual_graphs_give_what_onnxruntime_gives(folder, seed, ends, ratios, relu):
    rng = np.random.default_rng(seed)
    graph = residual_graph(rng, *ends, ratios, relu)
    path = graph.save(folder / "residual.onnx", 3)
    frames = (3 * rng.normal(size=(8, 2, graph.length))).astype(np.float32)
    np.testing.assert_array_equal(NativeRuntime(path, 1).run(frames), onnxruntime_on(path, frames))


def added(first=(0.25, -8, 7), second=(0.25, 0, 15), step=0.5, change=lambda graph: None, length=16) -> Graph:
    """Two layers of kernel 1 on the channels of the input, each with a quantiser (scale, low, high), added."""
    graph = Graph(length=length).quantise(1.0, -128, 127)
    at, tensors = graph.at, []
    for weights, (scale, low, high) in (([[[1], [0]]], first), ([[[0], [1]]], second)):
        graph.at = at
        graph.node("Conv", graph.weights(weights, scale)).quantise(scale, low, high, np.int8 if low < 0 else np.uint8)
        tensors.append(graph.at)
    change(graph)
    return graph.node("Add", tensors[0]).node("Clip", graph.constant(-60), graph.constant(55)).quantise(step, -128, 127)


def with_logits(graph: Graph) -> Graph:
    graph.node("Flatten", axis=1)
    return graph.node("Gemm", graph.weights(np.ones((2, graph.length), np.int64), 0.5), transB=1)


@pytest.mark.parametrize("first", [(0.25, -8, 7), (2.0, 0, 15), (0.75, -128, 127)])
@pytest.mark.parametrize("ratio", [1, 2, 0.25, 64])
@pytest.mark.parametrize("step", [0.25, 0.5, 1.0, 0.7])
def test_every_sum_of_two_codes_gets_the_code_of_the_float_definition(tmp_path, first, ratio, step):
    """A frame that holds all pairs, of scales that are powers of two and not."""
    second = (first[0] * ratio, 0, 15)
    ours, theirs = np.meshgrid(np.arange(first[1], first[2] + 1), np.arange(16))
    frames = np.stack([ours.ravel(), theirs.ravel()])[None].astype(np.float32)
    graph = added(first, second, first[0] * step, length=frames.shape[2])
    expected = onnxruntime_on(graph.save(tmp_path / "codes.onnx", 1, frames.shape[2]), frames)
    engine = build(compile_model(with_logits(graph).save(tmp_path / "whole.onnx", 2)))
    codes = engine.codes(frames, 3)
    np.testing.assert_array_equal(codes - 128.0, np.rint(expected / np.float32(first[0] * step)))
    assert len(np.unique(codes)) > 10


def averages(length, low=-128, high=127, scale=0.5, step=0.25, kind="AveragePool", layer=False) -> Graph:
    """The averages of the input, or of a layer's codes, quantised, and a linear layer on them."""
    graph = Graph(length=length).quantise(scale, low, high)
    if layer:
        graph.node("Conv", graph.weights([[[3], [1]], [[-5], [2]], [[1], [0]]], 0.25)).node("Relu")
        graph.quantise(scale, 0, high - low, np.uint8)
    channels = 3 if layer else 2
    size = {"kernel_shape": [length], "strides": [length]} if kind == "AveragePool" else {}
    graph.node(kind, **size).node("Mul", graph.constant(0.8125)).quantise(step, -128, 127).node("Flatten", axis=1)
    weights = np.arange(-channels, 2 * channels).reshape(3, channels)
    return graph.node("Gemm", graph.weights(weights, 0.5), transB=1)


@pytest.mark.parametrize("kind", ["AveragePool", "GlobalAveragePool"])
@pytest.mark.parametrize(("length", "low", "high"), [(1, -8, 7), (4, -128, 127), (32, 0, 15), (1024, -128, 127)])
@pytest.mark.parametrize("layer", [False, True])
def test_averages_over_the_frame_are_those_of_onnxruntime(tmp_path, kind, length, low, high, layer):
    """On frames of every level, so that many sums are met; 1024 codes of 8 bits need more than 16."""
    rng = np.random.default_rng(length)
    levels = rng.uniform(-64, 64, (400, 2, 1)) * rng.choice([1, 0.1], (400, 2, 1))
    frames = (levels + rng.normal(size=(400, 2, length)) * 4).astype(np.float32)
    frames[0], frames[1] = -1000, 1000
    path = averages(length, low, high, kind=kind, layer=layer).save(tmp_path / "averages.onnx", 3)
    np.testing.assert_array_equal(NativeRuntime(path, 1).run(frames), onnxruntime_on(path, frames))
    assert build(compile_model(path)).is_wide(1 + layer) == (length == 1024)


def test_every_average_gets_the_code_of_the_float_definition(tmp_path):
    """All sums of 16 codes of 0..15, a frame for each."""
    sums = np.arange(16 * 15 + 1)
    frames = np.clip(sums[:, None] - 15 * np.arange(16), 0, 15)[:, None].astype(np.float32)
    assert (frames.sum((1, 2)) == sums).all()
    graph = Graph(length=16, channels=1).quantise(1.0, 0, 15).node("GlobalAveragePool")
    graph.node("Mul", graph.constant(1.3)).quantise(0.125, 0, 255, np.uint8)
    codes = onnxruntime_on(graph.save(tmp_path / "codes.onnx", 1, 1), frames) / 0.125
    graph.node("Flatten", axis=1).node("Gemm", graph.weights([[1]], 1.0), transB=1)
    engine = build(compile_model(graph.save(tmp_path / "whole.onnx", 1)))
    np.testing.assert_array_equal(engine.codes(frames, 1), codes)
    assert len(np.unique(codes)) > 150


@pytest.mark.parametrize("name", [path.stem for path in MODELS.glob("*.onnx")])
def test_released_networks_give_the_logits_of_onnxruntime(name):
    rng = np.random.default_rng(7)
    frames = (rng.normal(size=(2000, 2, 1024)) * rng.choice([0.3, 1, 3], (2000, 1, 1))).astype(np.float32)
    model = load_model(name, runtime="native")
    np.testing.assert_array_equal(model.run(frames), onnxruntime_on(model.path, frames))


# --- what is refused ------------------------------------------------------------------------------


def small(change=lambda graph: None, *, weights=((1, 2),), scale=0.5, input_scale=0.5, step=0.5) -> Graph:
    graph = Graph(length=4).quantise(input_scale, -8, 7)
    graph.node("Conv", graph.weights(np.array(weights).reshape(1, 2, 1), scale))
    change(graph)
    graph.node("Relu").quantise(step, 0, 15, np.uint8).node("Flatten", axis=1)
    return graph.node("Gemm", graph.weights(np.ones((2, 4), np.int64), 0.5), transB=1)


REFUSED = {
    "another operation": (lambda: small(lambda g: g.node("Sigmoid")), "no form for the operation Sigmoid"),
    "softmax at the end": (lambda: small().node("Softmax"), "no form for the operation Softmax"),
    "a negative scale": (lambda: small(step=-0.5), "the scale -0.5, which is not above zero"),
    "a scale of zero": (lambda: small(input_scale=0.0), "the scale 0.0, which is not above zero"),
    "a scale that is no number": (lambda: small(step=np.nan), "the scale nan"),
    "weights with a bad scale": (lambda: small(scale=-1.0), "has a scale that is not above zero"),
    "a bias that is no number": (
        lambda: small(lambda g: g.node("Add", g.constant(np.nan))),
        "has a parameter that is not a finite number",
    ),
    "a negative variance": (
        lambda: small(lambda g: g.node("BatchNormalization", *(g.constant([v]) for v in (1, 0, 0, -1)))),
        "has a variance that is not above zero",
    ),
    "shapes that disagree": (
        lambda: small(lambda g: g.node("Mul", g.constant(np.ones((1, 3, 1))))),
        "has 3 numbers for 1 channels",
    ),
    "a pool that overlaps": (
        lambda: small(lambda g: g.node("MaxPool", kernel_shape=[2], strides=[1])),
        "has windows of [2] every [1]",
    ),
    "a sum of scales without a power of two between them": (
        lambda: with_logits(added((0.25, -8, 7), (0.75, 0, 15))),
        "adds tensors whose scales 0.75 and 0.25 have no power of two between them",
    ),
    "a sum of scales that are far apart": (
        lambda: with_logits(added((2.0**-8, -128, 127), (1.0, 0, 255))),
        "adds tensors whose scales 1.0 and 0.00390625 are too far apart",
    ),
    "a sum of scales that round": (
        lambda: with_logits(added((0.3, -128, 127), (0.3, -128, 127), 0.6)),
        "round otherwise than their sum does",
    ),
    "a sum with what is not quantised": (
        lambda: with_logits(added(change=lambda g: g.node("Conv", g.weights([[[1]]], 0.5)))),
        "adds what is quantised to what is not",
    ),
    "a sum of other shapes": (
        lambda: with_logits(
            added(change=lambda g: g.node("Conv", g.weights([[[1, 1]]], 0.5)).quantise(0.25, 0, 15, np.uint8))
        ),
        "adds tensors of different shapes",
    ),
    "a sum that is scaled": (
        lambda: (graph := Graph(length=4).quantise(0.5, -8, 7)).node("Add", graph.at).node("Mul", graph.constant(2)),
        "multiplies something else than the sums of a layer",
    ),
    "averages of a part": (
        lambda: small(lambda g: g.node("Relu").quantise(0.5, 0, 15).node("AveragePool", kernel_shape=[2])),
        "has windows of [2] in 4 samples",
    ),
    "averages of other than a power of two": (lambda: averages(12), "averages 12 samples, no power of two"),
    "averages of what is not quantised": (
        lambda: small(lambda g: g.node("GlobalAveragePool")),
        "takes something that is not quantised",
    ),
    "a convolution in groups at the end": (
        lambda: Graph(length=4).quantise(0.5, -8, 7).node("GlobalAveragePool"),
        "its output is not that of a linear layer",
    ),
    "a pool longer than its input": (
        lambda: small(lambda g: g.node("MaxPool", kernel_shape=[9], strides=[9])),
        "has a window longer than its input",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_engine_cannot_take_is_named(tmp_path, name):
    make, part = REFUSED[name]
    path = make().save(tmp_path / "graph.onnx", 2)
    with pytest.raises(CannotCompile) as caught:
        compile_model(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def layer_again(graph: Graph) -> Graph:
    """One more layer like that of ``small``: its output is like its input in all but its place."""
    graph.node("Conv", graph.weights(np.ones((2, 2, 1), np.int64), 0.5)).node("Relu")
    return graph.quantise(0.5, 0, 15, np.uint8)


@pytest.mark.parametrize("pooled", [False, True])
def test_the_logits_are_made_of_the_last_tensor(tmp_path, pooled):
    """Not of the one before, which looks exactly like the last, and not of codes of which only a pool is kept."""
    graph = layer_again(Graph(length=4).quantise(0.5, -8, 7))
    early = graph.at
    if pooled:
        graph.node("MaxPool", kernel_shape=[2], strides=[2])
    else:
        layer_again(graph)
    graph.at = early
    graph.node("Flatten", axis=1).node("Gemm", graph.weights(np.ones((2, 8), np.int64), 0.5), transB=1)
    with pytest.raises(CannotCompile, match="its output is not that of a linear layer"):
        compile_model(graph.save(tmp_path / "branch.onnx", 2))


def test_a_tensor_is_not_pooled_after_it_was_read(tmp_path):
    graph = layer_again(Graph(length=4).quantise(0.5, -8, 7))
    read = graph.at
    graph.node("Conv", graph.weights(np.ones((2, 2, 1), np.int64), 0.5))
    sums, graph.at = graph.at, read
    graph.node("MaxPool", kernel_shape=[2], strides=[2])
    graph.at = sums
    with_logits(graph.quantise(0.5, 0, 15, np.uint8))
    with pytest.raises(CannotCompile, match="reads codes of which only a pool is kept"):
        compile_model(graph.save(tmp_path / "pooled.onnx", 2))


def test_a_graph_with_a_cycle_is_refused(tmp_path):
    graph = small()
    graph.nodes[3].input[0] = graph.nodes[-1].output[0]
    with pytest.raises(AmcError, match="is not a valid ONNX file"):
        compile_model(graph.save(tmp_path / "cycle.onnx", 2))


def test_auto_takes_onnxruntime_where_the_engine_cannot(tmp_path):
    path = write_model(tmp_path / "float.onnx")
    assert load_model(path).runtime.name == "onnxruntime"
    with pytest.raises(AmcError, match="the engine cannot take the model .*: the node"):
        load_model(path, runtime="native")


def test_auto_takes_the_engine_where_it_is_the_faster_one():
    """Sums of 8-bit codes need 32 bits, which pays only with sums of four products."""
    wide = NativeRuntime(MODELS / "vgg10-w8a8.onnx", 1)
    assert load_model("vgg10-w4a4-imp10").runtime.name == load_model("wild").runtime.name == "native"
    assert load_model("vgg10-w8a8").runtime.name == ("onnxruntime" if wide.is_slow else "native")
    _engine.use_target("SCALAR")
    try:
        assert NativeRuntime(MODELS / "vgg10-w8a8.onnx", 1).is_slow
    finally:
        _engine.use_target(_engine.targets()[0])


def test_a_file_of_other_channels_is_refused(tmp_path):
    graph = Graph(length=4, channels=1).quantise(0.5, -8, 7).node("Flatten", axis=1)
    path = graph.node("Gemm", graph.weights(np.ones((2, 4), np.int64), 0.5), transB=1).save(tmp_path / "one.onnx", 2)
    with pytest.raises(AmcError, match="takes 1 channels"):
        NativeRuntime(path, 1)


def test_mutated_files_are_compiled_or_refused(tmp_path):
    """For ten seconds: bytes of a released file are changed, cut or doubled; nothing but AmcError may come of it."""
    whole = (MODELS / "vgg10-w4a4-first.onnx").read_bytes()
    small_file = small().save(tmp_path / "small.onnx", 2).read_bytes()
    generator, end, tried = random.Random(11), time.monotonic() + FUZZ_SECONDS, 0
    while time.monotonic() < end:
        content = bytearray(generator.choice((whole, small_file)))
        for _ in range(generator.randint(1, 8)):
            place = generator.randrange(len(content))
            kind = generator.randrange(3)
            if kind == 0:
                content[place] = generator.randrange(256)
            elif kind == 1:
                del content[place : place + generator.randint(1, 20)]
            else:
                content[place:place] = content[place : place + generator.randint(1, 20)]
        path = tmp_path / "mutated.onnx"
        path.write_bytes(content)
        tried += 1
        try:
            NativeRuntime(path, 1)
        except AmcError as error:
            assert "\n" not in str(error)
    assert tried > 20


def test_metadata_is_that_of_the_file(tmp_path):
    path = small().save(tmp_path / "graph.onnx", 2, metadata={"amc.window": "4", "amc.classes": '["A", "B"]'})
    runtime = NativeRuntime(path, 1)
    assert runtime.metadata == {"amc.window": "4", "amc.classes": '["A", "B"]'}
    assert (runtime.window, runtime.class_count) == (4, 2)
    with pytest.raises(AmcError, match=r"the engine cannot take the windows: frames must have the shape \(N, 2, 4\)"):
        runtime.run(np.zeros((1, 2, 5), np.float32))
