# SPDX-License-Identifier: GPL-3.0-or-later
"""The integer engine, on every instruction set of this machine, against the plainest executor."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import numpy as np
import pytest
from gnuradio.amc import _engine
from gnuradio.amc.compiler import compile_model
from gnuradio.amc.errors import AmcError
from gnuradio.amc.gate import gate, mean_power
from gnuradio.amc.integer import Input, IntegerNetwork, Layer, Logits, Sum, Tensor
from gnuradio.amc.model import MODELS
from gnuradio.amc.native import NativeRuntime, build
from gnuradio.amc.normalise import KINDS, normalise, prepare
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.quantised_models import execute, random_even_network, random_network

TARGETS = _engine.targets()
HAS_QUADS = TARGETS[0] == "AVX3" and "avx512_vnni" in Path("/proc/cpuinfo").read_text()


@pytest.fixture(autouse=True)
def best_target():
    yield
    _engine.use_target(TARGETS[0])


def same_as_defined(network, frames):
    codes, logits = execute(network, frames)
    for target in TARGETS:
        _engine.use_target(target)  # what a network is made for
        engine = build(network)
        for number, expected in enumerate(codes):
            np.testing.assert_array_equal(engine.codes(frames, number), expected, err_msg=f"{target} tensor {number}")
        np.testing.assert_array_equal(engine.run(frames), logits, err_msg=target)


def test_the_scalar_form_is_among_the_targets():
    assert "SCALAR" in TARGETS
    assert _engine.target_in_use() == TARGETS[0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 4), (1, 1), (127, 8), (3, 2), (1000, 8)]))
def test_every_target_computes_what_is_defined(seed, kind):
    rng = np.random.default_rng(seed)
    network = random_network(rng, *kind)
    # More frames than lie side by side, and not a multiple of them.
    shape = (11, network.input.output.channels, network.input.output.length)
    same_as_defined(network, (4 * rng.normal(size=shape)).astype(np.float32))


def one_layer(weights, thresholds, largest=255, length=40):
    """A layer of kernel 1 on one channel, whose codes 0..largest are the input's values."""
    weights = np.asarray(weights, np.int16).reshape(len(weights), -1, 1)
    channels = weights.shape[1]
    tensor = Tensor(channels, length, largest, 0)
    thresholds = np.asarray(thresholds, np.int32).reshape(len(weights), -1)
    output = Tensor(len(weights), length, thresholds.shape[1], 0)
    layer = Layer(output, weights, 1, (0, 0), 1, 1, thresholds, 0)
    logits = Logits(np.ones((2, len(weights) * length), np.int16), np.zeros(2, np.int32), *np.ones((2, 2), np.float32))
    return IntegerNetwork(Input(tensor, 1.0, 0, largest), (layer,), logits)


@pytest.mark.parametrize(
    ("weights", "wide"),
    [
        ([[127, 1]], False),  # 128 x 255 = 32,640
        ([[128, 0]], False),
        ([[128, 1]], True),  # 32,895, beyond 16 bits
        ([[-128, -1]], True),
        ([[32767, 32767]], True),
    ],
)
def test_sums_that_do_not_fit_16_bits_are_widened(weights, wide):
    most = sum(weights[0]) * 255
    network = one_layer(weights, [[most - 1, most] if most > 0 else [most, most + 1]])
    assert build(network).is_wide(1) == wide
    frames = np.full((2, 2, 40), 255, np.float32)
    frames[1, 0, 7] = 254
    same_as_defined(network, frames)
    assert (build(network).codes(frames, 1)[0] == (2 if most > 0 else 1)).all()


@given(st.integers(1, 127), st.floats(0.002, 0.5), st.floats(-40, 40), st.sampled_from([1, 3, 15, 63]))
def test_codes_in_fixed_point_are_those_counted(weight, slope, offset, largest):
    """Every reachable sum, with steps as evenly spaced as batch normalisation makes them."""
    steps = np.ceil((np.arange(1, largest + 1) - 0.5 - offset) / slope)
    network = one_layer([[weight], [-weight]], np.clip([steps, steps], -(2**31), 2**31 - 1), length=256)
    same_as_defined(network, np.arange(256, dtype=np.float32).reshape(1, 1, 256))


@given(st.integers(1, 127), st.integers(4, 60), st.integers(0, 2**31), st.sampled_from([3, 15, 16, 31, 32]))
def test_codes_of_uneven_steps_are_those_counted(weight, spacing, seed, largest):
    """Steps up to a quarter of their distance beside even ones, which no line has, but a table beside a line."""
    uneven = np.random.default_rng(seed).uniform(-0.25, 0.25, largest)
    steps = np.round(weight * spacing / 8 * (np.arange(largest) + uneven)).astype(np.int64)
    network = one_layer([[weight], [-weight]], [steps, steps - 255 * weight // 2], length=256)
    # Steps less than one sum apart fall together, and lie farther beside even ones than that.
    assert largest > 31 or weight * spacing < 8 or build(network).rounded(1) == 2
    same_as_defined(network, np.arange(256, dtype=np.float32).reshape(1, 1, 256))


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 64, 100, 1000])
@pytest.mark.parametrize("weights", [(1, 1, 1), (-3, 2, 100), (1, 0, -1)])
@pytest.mark.parametrize("steps", ["even", "uneven"])
def test_averages_over_rows_are_those_defined(length, weights, steps):
    """After a layer of one tap a channel, which makes whatever rows the instruction set has."""
    rng = np.random.default_rng(length)
    first = Layer(
        Tensor(3, length, 15, 0),
        rng.integers(-7, 8, (3, 3, 1)).astype(np.int16),
        stride=1,
        padding=(0, 0),
        groups=1,
        pool=1,
        thresholds=np.sort(rng.integers(-100, 500, (3, 15)), axis=1).astype(np.int32),
        source=0,
    )
    reach = 15 * length * np.abs(weights)[:, None]
    even = reach * np.linspace(-1, 1, 200)
    thresholds = even if steps == "even" else np.sort(rng.integers(-reach, reach + 1, (3, 200)), axis=1)
    average = Layer(
        Tensor(3, 1, 200, 0),
        np.repeat(np.array(weights, np.int16)[:, None, None], length, axis=2),
        stride=1,
        padding=(0, 0),
        groups=3,
        pool=1,
        thresholds=thresholds.astype(np.int32),
        source=1,
    )
    logits = Logits(np.eye(3, dtype=np.int16), np.zeros(3, np.int32), *np.ones((2, 3), np.float32))
    network = IntegerNetwork(Input(Tensor(3, length, 31, 0), 1.0, 0, 31), (first, average), logits)
    same_as_defined(network, rng.integers(0, 32, (40, 3, length)).astype(np.float32))


def residual(thresholds, shifts=(0, 0), largest=255, first=0, second=1):
    """A layer that swaps two channels, and the sum with the channels before; frames that hold every pair of codes
    0..``largest``, or 4096 of them.
    """
    levels = largest + 1
    length = min(levels * levels, 4096)
    tensor = Tensor(2, length, largest, 0)
    swap = np.array([[0, 1], [1, 0]], np.int16).reshape(2, 2, 1)
    counts = np.tile(np.arange(1, levels, dtype=np.int32), (2, 1))
    thresholds = np.asarray(thresholds, np.int32)
    layers = (
        Layer(tensor, swap, 1, (0, 0), 1, 1, counts, 0),
        Sum(Tensor(2, length, len(thresholds), 0), first, second, shifts, thresholds),
    )
    logits = Logits(np.ones((2, 2 * length), np.int16), np.zeros(2, np.int32), *np.ones((2, 2), np.float32))
    values = np.linspace(0, levels * levels - 1, length).astype(int)
    frames = np.stack([values // levels, values % levels])[None].astype(np.float32)
    return IntegerNetwork(Input(tensor, 1.0, 0, largest), layers, logits), frames


@pytest.mark.parametrize("divisor", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("offset", [0, -3, 7])
@pytest.mark.parametrize("shifts", [(0, 0), (1, 0), (0, 3)])
def test_sums_are_divided_by_powers_of_two_half_to_even(divisor, offset, shifts):
    """All pairs of codes of five bits, against numpy's own rounding, in fixed point."""
    most = (31 << shifts[0]) + (31 << shifts[1])
    expected = np.clip(np.rint((np.arange(most + 1) + offset) / divisor), 0, 31)
    network, frames = residual(np.searchsorted(expected, np.arange(1, 32)), shifts, 31)
    assert build(network).rounded(2) == 2
    same_as_defined(network, frames)
    sums = (frames.astype(int) << shifts[0]) + (frames[:, ::-1].astype(int) << shifts[1])
    np.testing.assert_array_equal(build(network).codes(frames, 2), expected[sums])


def test_sums_with_other_steps_are_looked_up():
    network, frames = residual([-5, 0, 1, 1, 9, 40, 41, 43, 80, 2**31 - 1], (1, 0), 31)
    assert build(network).rounded(2) == 0
    same_as_defined(network, frames)


def test_sums_as_large_as_there_are():
    """255 x 64 from both, 32,640, and twice as much from one is refused."""
    network, frames = residual(np.arange(130, 32640, 128)[:250], (6, 6))
    same_as_defined(network, frames)
    with pytest.raises(AmcError, match="sums of two tensors go beyond 15 bits"):
        build(residual([1], (7, 6))[0])


def test_most_outputs_of_a_released_network_are_rounded_in_fixed_point():
    network = compile_model(MODELS / "vgg10-w4a4-first.onnx")
    engine = build(network)
    outputs = [layer.output.channels for layer in network.layers]
    assert sum(engine.rounded(number) for number in range(1, 10)) > 0.8 * sum(outputs)


def test_sums_cancel_on_the_way_without_overflow():
    """Two hundred products of one sign, then as many of the other."""
    weights = [[127] * 100 + [-127] * 100]
    network = one_layer(weights, [[0, 1]], largest=255)
    same_as_defined(network, np.full((1, 200, 40), 255, np.float32))


@pytest.mark.skipif(not HAS_QUADS, reason="this processor has no sums of four products of bytes")
def test_four_products_are_added_at_a_time_where_sums_need_32_bits():
    """But for weights of more than a byte."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (2, 8, 40)).astype(np.float32)
    even = np.ceil(np.linspace(-3000, 3000, 255)).astype(np.int32)
    for weights, pays in (
        (np.full((3, 8), 2), False),
        (np.full((3, 8), -128), True),
        (np.full((3, 8), 128), False),
        (np.array([[127] + 7 * [0], 4 * [127] + 4 * [-128]]), True),
    ):
        network = one_layer(weights, [even] * len(weights))
        _engine.use_target(TARGETS[0])
        assert build(network).takes_quads(1) == pays
        same_as_defined(network, values)
    _engine.use_target("AVX2")
    assert not build(one_layer(np.full((3, 8), -128), [even] * 3)).takes_quads(1)


WRITTEN_FOR = [target for target in TARGETS if target in ("AVX2", "AVX3", "AVX3_DL", "AVX3_ZEN4")]


def test_code_is_written_for_the_weights_of_a_released_network():
    network = compile_model(MODELS / "vgg10-w4a4-imp10.onnx")
    convolutions = [number for number, layer in enumerate(network.layers, 1) if layer.weights.shape[2] == 3]
    assert len(convolutions) == 7
    for target in TARGETS:
        _engine.use_target(target)
        engine = build(network)
        written = [engine.specialised(number) for number in convolutions]
        if target in WRITTEN_FOR:
            assert min(written) >= 63, (target, written)  # a filter that is always the same code has no line
        else:
            assert not any(written), target


@given(st.integers(0, 2**32 - 1))
def test_frames_in_stripes_are_those_defined(seed):
    """Two or three times as many as go at once in stripes, and some that are left for rows of their own."""
    rng = np.random.default_rng(seed)
    network = random_even_network(rng)
    same_as_defined(network, (2 * rng.normal(size=(19, 2, network.input.output.length))).astype(np.float32))


@pytest.mark.skipif(not WRITTEN_FOR, reason="no code is written for this processor")
def test_frames_go_in_stripes_where_these_fit():
    """Eight segments of each fill a vector."""
    for target in TARGETS:
        _engine.use_target(target)
        together = {"AVX2": 4}.get(target, 8) if target in WRITTEN_FOR else 0
        for name in ("vgg10-w4a4", "vgg10-w4a4-imp10", "vgg10-w4a4-imp10-grouped", "frontier"):
            assert build(compile_model(MODELS / f"{name}.onnx")).frames_in_stripes() == together, (target, name)
        random = [build(random_even_network(np.random.default_rng(seed))).frames_in_stripes() for seed in range(40)]
        assert random.count(together) > 20
        # A row that eight segments do not cut, and uneven steps, which code of their own cannot make.
        assert build(one_layer([[1]], [np.arange(1, 16)], 15, 44)).frames_in_stripes() == 0
        assert build(one_layer([[1]], [np.arange(1, 16)], 15, 48)).frames_in_stripes() == together
        assert build(one_layer([[1]], [np.arange(1, 16) ** 2], 15, 48)).frames_in_stripes() == 0


@pytest.mark.skipif(not WRITTEN_FOR, reason="no code is written for this processor")
def test_code_is_written_for_weights_and_codes_that_fit_it():
    rng = np.random.default_rng(1)
    for weights, largest, codes, written in (
        ([2] * 8, 15, 64, True),
        ([2] * 8, 15, 16, True),
        ([2] * 8, 15, 15, False),  # the largest is not where bytes end
        ([-128] * 8, 15, 2, True),
        ([128] * 8, 15, 256, False),  # no byte
        ([127, -127], 255, 2, True),
        ([127, 127, -127, -127, 126, 126, -126, -126], 60, 2, True),  # in one byte each they would leave 16 bits
        ([127, 127], 255, 256, False),  # as their sum does
        ([1] * 40, 15, 16, True),  # more than one byte holds
        ([0, 0], 255, 2, True),
    ):
        least, most = (sum(weight for weight in weights if sign * weight > 0) * largest for sign in (-1, 1))
        network = one_layer([weights], np.ceil(np.linspace(least, most + 1, codes + 1)[1:-1]), largest)
        for target in WRITTEN_FOR:
            _engine.use_target(target)
            assert build(network).specialised(1) == written, (weights, target)
        same_as_defined(network, rng.integers(0, largest + 1, (3, len(weights), 40)).astype(np.float32))


@given(st.lists(st.floats(width=32), min_size=1, max_size=70), st.sampled_from([0.25, 1.0, 0.3]))
def test_the_input_is_rounded_as_onnx_says(values, scale):
    """Half to even, clipped; infinities are the ends, what is no number is some code."""
    signal = np.array(values, np.float32)
    tensor = Tensor(1, len(signal), 15, 8)
    network = replace(one_layer([[1]], [[1]], 15, len(signal)), input=Input(tensor, scale, -8, 7))
    engine, number = build(network), ~np.isnan(signal)
    with np.errstate(over="ignore"):
        expected = np.clip(np.rint(signal / np.float32(scale)), -8, 7) + 8
    for target in TARGETS:
        _engine.use_target(target)
        codes = engine.codes(signal[None, None], 0)[0, 0]
        np.testing.assert_array_equal(codes[number], expected[number])
        assert codes.max() <= 15


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_frames_and_threads(count, threads):
    rng = np.random.default_rng(count)
    network = random_network(rng)
    frames = rng.normal(size=(count, network.input.output.channels, network.input.output.length)).astype(np.float32)
    np.testing.assert_array_equal(build(network).run(frames, threads), execute(network, frames)[1])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_several_runs_may_be_under_way(threads):
    """Each gets its own logits, in whatever order they are asked for; one that nobody asks for does no harm."""
    rng = np.random.default_rng(threads)
    network = random_network(rng)
    shape = network.input.output.channels, network.input.output.length
    batches = [rng.normal(size=(count, *shape)).astype(np.float32) for count in (70, 1, 3, 33, 5)]
    engine = build(network)
    pending = [engine.start(frames, threads) for frames in batches]
    del pending[3], batches[3]
    for number in (3, 0, 2, 1):
        expected = execute(network, batches[number])[1]
        np.testing.assert_array_equal(pending[number].result(), expected)
        np.testing.assert_array_equal(pending[number].result(), expected)  # asked again
    with pytest.raises(ValueError, match="frames must have the shape"):
        engine.start(np.zeros((1, shape[0] + 1, shape[1]), np.float32), threads)


def test_several_threads_may_wait_for_the_same_logits():
    rng = np.random.default_rng(4)
    network = random_network(rng)
    engine = build(network)
    frames = rng.normal(size=(500, network.input.output.channels, network.input.output.length)).astype(np.float32)
    expected = engine.run(frames, 1)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            pending = engine.start(frames, 2)
            assert all(threads.map(lambda wait: np.array_equal(wait(), expected), [pending.result] * 4))


def test_a_forked_process_has_threads_of_its_own():
    """The engine's threads stay behind in the parent."""
    network = random_network(np.random.default_rng(1))
    frames = np.ones((40, network.input.output.channels, network.input.output.length), np.float32)
    engine = build(network)
    expected = engine.run(frames, 2)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(engine.start(frames, 2).result(), expected) else 1)
    deadline, ended = time.monotonic() + 10, (0, 0)
    while ended[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
        ended = os.waitpid(child, os.WNOHANG)
    if ended[0] == 0:
        os.kill(child, SIGKILL)
    assert ended == (child, 0)
    np.testing.assert_array_equal(engine.run(frames, 2), expected)


def test_no_frames_no_logits():
    network = one_layer([[1]], [[1]])
    assert build(network).run(np.zeros((0, 1, 40), np.float32)).shape == (0, 2)


# --- complex frames, and what divides each ---------------------------------------------------------


def of_two_rails(length, scale=0.25, low=-8, high=7):
    network = one_layer([[1, 2]], [[20, 30]], largest=high - low, length=length)
    tensor = Tensor(2, length, high - low, -low)
    return IntegerNetwork(Input(tensor, scale, low, high), network.layers, network.logits)


def frames_to_be_scaled(length):
    """Noise with a mean, of all powers; constant frames; and values between two codes."""
    rng = np.random.default_rng(length)
    noise = rng.normal(size=(400, length, 2)) @ [1, 1j] + 0.3 - 0.1j
    noise *= np.logspace(-17, 17, len(noise))[:, None]
    constant = np.array([0.5 + 0.5j, 1e-16, -1e-19j, 1e16 - 1e16j])[:, None] * np.ones(length)
    halves = rng.integers(-20, 20, (50, length, 2)) @ [1, 1j] / 8
    frames = np.concatenate((noise, constant, halves)).astype(np.complex64)
    assert gate(mean_power(frames), -np.inf)[0].all()
    return frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 15, 41, 1024])
def test_complex_frames_are_divided_in_the_engine_as_they_are_by_numpy(length, kind):
    network, frames = of_two_rails(length), frames_to_be_scaled(length)
    rails = normalise(frames, kind)
    frames, by = prepare(frames, mean_power(frames), kind)
    expected = np.clip(np.rint(rails / np.float32(0.25)), -8, 7) + 8
    engine = build(network)
    logits = engine.run(rails)
    for target in TARGETS:
        _engine.use_target(target)
        np.testing.assert_array_equal(engine.codes(frames, 0, by), expected, err_msg=target)
        np.testing.assert_array_equal(engine.run(frames, 1, by), logits, err_msg=target)
        np.testing.assert_array_equal(engine.start(frames, 2, by).result(), logits, err_msg=target)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("hop", [1, 7, 40, 41, 42, 100, -3])
def test_complex_frames_may_overlap_and_lie_apart(hop, threads):
    stream = frames_to_be_scaled(1024)[180:220].ravel()
    frames = np.lib.stride_tricks.sliding_window_view(stream, 41)[::hop][:100]
    _, by = prepare(frames, mean_power(frames), "unit_power")
    engine = build(of_two_rails(41))
    np.testing.assert_array_equal(engine.run(frames, threads, by), engine.run(normalise(frames, "unit_power")))
    np.testing.assert_array_equal(engine.start(frames, threads, by).result(), engine.run(frames, threads, by))


def test_complex_frames_stay_until_they_are_classified():
    frames = frames_to_be_scaled(1024)
    engine, (_, by) = build(of_two_rails(1024)), prepare(frames, mean_power(frames), "unit_power")
    expected = engine.run(frames, 1, by)
    pending = engine.start(frames.copy(), 2, by.copy())
    np.testing.assert_array_equal(pending.result(), expected)


@pytest.mark.parametrize("name", ["vgg10-w4a4-first", "vgg10-w4a4-imp10", "vgg10-w4a4-imp10-grouped"])
@pytest.mark.parametrize("kind", KINDS)
def test_released_networks_take_complex_frames(name, kind):
    frames = frames_to_be_scaled(1024)[::7]
    runtime = NativeRuntime(MODELS / f"{name}.onnx", 1)
    logits = runtime.start(*prepare(frames, mean_power(frames), kind))()
    np.testing.assert_array_equal(logits, runtime.run(normalise(frames, kind)))


# --- what is refused ------------------------------------------------------------------------------


def broken(**changes):
    network = one_layer([[1, 2]], [[1, 5]])
    places = {"input": network.input, "layer": network.layers[0], "logits": network.logits}
    for name, value in changes.items():
        place, _, key = name.partition("_")
        places[place] = replace(places[place], **{key: value})
    return IntegerNetwork(places["input"], (places["layer"],), places["logits"])


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"input_scale": 0.0}, "scale of the input"),
        ({"input_scale": float("nan")}, "scale of the input"),
        ({"input_low": 5, "input_high": 9}, "around zero"),
        ({"input_low": -200, "input_high": 200}, "around zero"),
        ({"input_output": Tensor(0, 40, 255, 0)}, "empty"),
        ({"input_output": Tensor(1 << 20, 1 << 20, 255, 0)}, "larger than the engine takes"),
        ({"layer_stride": 0}, "a size of the layer is zero"),
        ({"layer_groups": 3}, "groups"),
        ({"layer_pool": 41}, "the pool is longer"),
        ({"layer_padding": (1, 0)}, "the padding is as long as the kernel"),
        ({"layer_weights": np.ones((1, 2, 41), np.int16)}, "the kernel is longer"),
        ({"layer_weights": np.ones((1, 3, 1), np.int16)}, "weights and sizes disagree"),
        ({"layer_weights": np.ones((1, 2), np.int16)}, "the shape (outputs, inputs, kernel)"),
        (
            {"input_output": Tensor(2, 80, 255, 0), "layer_weights": np.full((1, 2, 80), 32767, np.int16)},
            "beyond 30 bits",
        ),
        ({"layer_thresholds": np.array([[5, 1]], np.int32)}, "thresholds do not rise"),
        ({"layer_thresholds": np.array([[5], [6]], np.int32)}, "thresholds and codes disagree"),
        ({"layer_thresholds": np.zeros((1, 300), np.int32)}, "the shape (outputs, codes)"),
        ({"layer_output": Tensor(1, 40, 2, 7)}, "the code of zero"),
        ({"logits_weights": np.ones((2, 3), np.int16)}, "weights and sizes disagree"),
        ({"logits_scale": np.ones(3, np.float32)}, "weights and sizes disagree"),
        ({"logits_shift": np.full(2, -(2**31), np.int32)}, "beyond 30 bits"),
        ({"layer_stride": -1}, "the engine refuses the network"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(changes, part):
    with pytest.raises(AmcError, match="the engine refuses the network") as caught:
        build(broken(**changes))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "changes", "part"),
    [
        (1, {"first": 2}, "the sum reads a tensor that there is not"),
        (1, {"second": 7}, "the sum reads a tensor that there is not"),
        (1, {"first": -1}, "the engine refuses the network"),
        (1, {"shifts": (-1, 0)}, "shifts codes by less than 0"),
        (1, {"shifts": (0, 15)}, "more than 14 bits"),
        (1, {"thresholds": np.array([3, 1], np.int32)}, "thresholds do not rise"),
        (1, {"thresholds": np.ones((1, 2), np.int32)}, "thresholds of a sum must have the shape (codes,)"),
        (1, {"thresholds": np.ones(0, np.int32)}, "codes must have 1 to 8 bits"),
        (1, {"thresholds": np.ones(256, np.int32)}, "codes must have 1 to 8 bits"),
        (1, {"output": Tensor(2, 16, 1, 2)}, "the code of zero"),
        (0, {"source": 1}, "the layer reads a tensor that there is not"),
        (0, {"weights": np.ones((2, 2, 2), np.int16)}, "the tensors of a sum have different shapes"),
        (0, {"weights": np.ones((2, 2, 16), np.int16)}, "a sum follows a linear layer"),
    ],
)
def test_sums_that_do_not_fit_are_refused(place, changes, part):
    network, _ = residual([1], largest=3)
    layers = list(network.layers)
    layers[place] = replace(layers[place], **changes)
    network = replace(network, layers=tuple(layers))
    with pytest.raises(AmcError, match="the engine refuses the network") as caught:
        build(network)
    assert part in str(caught.value)


def test_a_linear_layer_reads_the_last_tensor():
    network = one_layer([[1]], [[1]], length=4)
    linear = Layer(
        Tensor(1, 1, 1, 0),
        np.arange(1, 5, dtype=np.int16).reshape(1, 1, 4),
        1,
        (0, 0),
        1,
        1,
        np.ones((1, 1), np.int32),
        0,
    )
    with pytest.raises(AmcError, match="a linear layer reads another tensor than the last one"):
        build(replace(network, layers=(*network.layers, linear)))


@pytest.mark.parametrize("shape", [(2, 40), (1, 3, 40), (1, 2, 41), (1, 1, 2, 40)])
def test_frames_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"frames must have the shape \(N, 2, 40\)"):
        build(broken()).run(np.zeros(shape, np.float32))


ONES = np.ones(3, np.float32)
COMPLEX = np.ones((3, 40), np.complex64)


@pytest.mark.parametrize(
    ("frames", "by", "part"),
    [
        (COMPLEX[0], ONES, r"complex64 of the shape \(N, 40\)"),
        (COMPLEX[:, :39], ONES, r"complex64 of the shape \(N, 40\)"),
        (COMPLEX[None], ONES, r"complex64 of the shape \(N, 40\)"),
        (COMPLEX.astype(np.complex128), ONES, r"complex64 of the shape \(N, 40\)"),
        (COMPLEX.astype(">c8"), ONES, r"complex64 of the shape \(N, 40\)"),
        (COMPLEX.real, ONES, r"complex64 of the shape \(N, 40\)"),
        (np.ones((3, 2, 40), np.float32), ONES, r"complex64 of the shape \(N, 40\)"),
        (np.ones((3, 80), np.complex64)[:, ::2], ONES, "side by side"),
        (COMPLEX[:, ::-1], ONES, "side by side"),
        (np.zeros(3 * 40 * 8 + 1, np.uint8)[1:].view(np.complex64).reshape(3, 40), ONES, "aligned"),
        (COMPLEX, ONES[:2], "one divisor for each frame"),
        (COMPLEX, np.ones(4), "one divisor for each frame"),
        (COMPLEX, ONES[:, None], "one divisor for each frame"),
        (COMPLEX, np.float32(1), "one divisor for each frame"),
        (COMPLEX, 0 * ONES, "finite and above zero"),
        (COMPLEX, -ONES, "finite and above zero"),
        (COMPLEX, np.array([1, 1, np.nan]), "finite and above zero"),
        (COMPLEX, np.array([1, np.inf, 1]), "finite and above zero"),
    ],
)
def test_complex_frames_and_divisors_that_do_not_fit_are_refused(frames, by, part):
    engine = build(of_two_rails(40))
    for take in (engine.run, engine.start):
        with pytest.raises(ValueError, match=part) as caught:
            take(frames, 1, by)
        assert "\n" not in str(caught.value)


def test_complex_frames_need_two_channels():
    with pytest.raises(ValueError, match="two channels"):
        build(one_layer([[1]], [[1]])).run(COMPLEX, 1, ONES)


def test_the_runtime_says_in_a_sentence_what_it_cannot_take():
    runtime = NativeRuntime(MODELS / "vgg10-w4a4-first.onnx", 1)
    with pytest.raises(AmcError, match="the engine cannot take the windows: divisors must be finite and above zero"):
        runtime.start(np.ones((1, 1024), np.complex64), np.zeros(1, np.float32))


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="no instruction set 'MMX'"):
        _engine.use_target("MMX")
    assert _engine.target_in_use() == TARGETS[0]


def test_the_processors_best_is_measured_for_each_instruction_set():
    for target in TARGETS:
        _engine.use_target(target)
        try:
            peak = _engine.measure_peak()
        finally:
            _engine.use_target(TARGETS[0])
        assert min(peak["products"], peak["bytes"], peak["aligned_bytes"]) > 0
        assert (peak["quads"] > 0) == (target == TARGETS[0] and HAS_QUADS)
