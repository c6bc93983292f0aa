# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows on their way to the model: divided and joined again they are the same."""

import numpy as np
import pytest
from gnuradio.amc import Pipeline, load_model
from gnuradio.amc.pipeline import Windows
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tiny_models import write_model

ARRAYS = ("starts", "levels", "keep", "inputs")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")))


@given(
    levels=st.lists(st.sampled_from([0.0, 0.001, 0.5, 1.0, np.nan]), min_size=1, max_size=8),
    share=st.floats(0, 1),
)
def test_windows_divided_and_joined_again_are_the_same(model, levels, share):
    samples = np.repeat(np.array(levels, np.complex64), 1024)
    (whole,) = Pipeline(model).cut(samples)
    head, rest = whole.divided(round(share * len(whole)))
    assert (len(head), len(rest)) == (round(share * len(whole)), len(whole) - len(head))
    for part in (head, rest):
        assert len(part.inputs) == part.keep.sum()
    joined = Windows.joined([head, rest])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    said = [(result.sample_start, result.label) for result in Pipeline(model).classify(joined)]
    expected = {0.001: "LOW", 0.5: "MIDDLE", 1.0: "HIGH"}
    assert said == [(1024 * n, expected[level]) for n, level in enumerate(levels) if level in expected]
