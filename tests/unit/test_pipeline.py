# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows on their way to the model: divided and joined again they are the same, and nothing in them is infinite."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.amc import Pipeline, load_model
from gnuradio.amc.normalise import KINDS, divide, normalise
from gnuradio.amc.pipeline import Windows
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.tiny_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")))


@given(
    levels=st.lists(st.sampled_from([0.0, 0.001, 0.5, 1.0, np.nan]), min_size=1, max_size=8),
    share=st.floats(0, 1),
    room=st.sampled_from([None, 8, 9]),
)
def test_windows_divided_and_joined_again_are_the_same(model, levels, share, room):
    samples = np.repeat(np.array(levels, np.complex64), 1024)
    (whole,) = Pipeline(model).cut(samples)
    head, rest = whole.divided(round(share * len(whole)))
    assert (len(head), len(rest)) == (round(share * len(whole)), len(whole) - len(head))
    place = None if room is None else np.full((room, 1024), 7, np.complex64)
    joined = Windows.joined([head, rest], place)
    assert place is None or np.shares_memory(joined.frames, place)
    for name in ("starts", "frames"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    said = [(result.sample_start, result.label) for result in Pipeline(model).classify(joined)]
    expected = {0.001: "LOW", 0.5: "MIDDLE", 1.0: "HIGH"}
    assert said == [(1024 * n, expected[level]) for n, level in enumerate(levels) if level in expected]


@pytest.mark.parametrize("kind", KINDS)
@given(
    levels=st.lists(
        st.sampled_from([0.0, np.nan, np.inf, 1j * np.inf, 1e-30, 1e-22, 1e-19, 1e-3j, 1.0, 1e15 + 1e16j, 1e30]),
        min_size=1,
        max_size=8,
    )
)
def test_what_reaches_the_model_is_finite_and_so_is_what_divides_it(model, kind, levels):
    samples = np.repeat(np.array(levels, np.complex64), 1024)
    pipeline = Pipeline(replace(model, normalise=kind), squelch=-np.inf)
    (windows,) = pipeline.cut(samples)
    inference = pipeline.begin(windows)
    assert len(inference.frames) == len(inference.divisors) == inference.keep.sum()
    assert np.isfinite(inference.frames).all()
    assert (np.isfinite(inference.divisors) & (inference.divisors > 0)).all()
    inputs = divide(inference.frames, inference.divisors)
    assert np.isfinite(inputs).all()
    np.testing.assert_array_equal(inputs, normalise(windows.frames[inference.keep], kind))


@pytest.mark.parametrize("hop", [1024, 1025, 5000])
def test_windows_keep_nothing_in_memory_of_what_lies_between_them(model, hop):
    (windows,) = Pipeline(model, hop=hop).cut(np.ones(2 * hop + 1024, np.complex64))
    memory = windows.frames
    while memory.base is not None:
        memory = memory.base
    assert memory.nbytes == 3 * 1024 * 8


@pytest.fixture(scope="module")
def runtimes():
    return [load_model("vgg10-w4a4-imp10", runtime=name) for name in ("native", "onnxruntime")]


@given(levels=st.lists(st.sampled_from([0.0, np.nan, 0.1, 1.0]), min_size=1, max_size=6))
@example(levels=[0.0])
@example(levels=[np.nan, 0.0])
def test_both_runtimes_take_what_passes_the_gate_be_it_nothing(runtimes, levels):
    rng = np.random.default_rng(len(levels))
    samples = np.repeat(np.array(levels), 1024) * rng.normal(size=1024 * len(levels))
    ours, theirs = (Pipeline(runtime).push(samples.astype(np.complex64)) for runtime in runtimes)
    assert [result.sample_start for result in ours] == [1024 * n for n, level in enumerate(levels) if level > 0]
    assert [(one.label, one.confidence) for one in ours] == [(one.label, one.confidence) for one in theirs]


@pytest.mark.parametrize("rows", [1, 4])
def test_a_model_with_a_fixed_batch_takes_windows_of_which_none_passes_the_gate(tmp_path, rows):
    pipeline = Pipeline(load_model(str(write_model(tmp_path / "fixed.onnx", batch=rows))))
    results = [result for level in (0.0, 1.0) for result in pipeline.push(np.full(2 * 1024, level, np.complex64))]
    assert [(result.sample_start, result.label) for result in results] == [(2048, "HIGH"), (3072, "HIGH")]
    assert pipeline.counters.ignored == 2
