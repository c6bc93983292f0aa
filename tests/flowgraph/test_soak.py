# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak in short: retunes, silence and overload, and every window accounted for."""

import time

import pytest
from gnuradio import amc

from tests.bench.soak import SILENT, STRETCH, STRETCHES, measure
from tests.helpers.tiny_models import write_model

pytestmark = pytest.mark.hard_timeout(240)


def test_every_window_is_accounted_for(tmp_path, monkeypatch):
    """Slowed down, so that windows are dropped on any machine."""
    start = amc.Pipeline.begin

    def begin_slowly(pipeline, windows):
        time.sleep(0.005)
        return start(pipeline, windows)

    monkeypatch.setattr(amc.Pipeline, "begin", begin_slowly)
    found = measure(10_000_000, str(write_model(tmp_path / "tiny.onnx")))
    assert found["cut"] == 10_000_000 // STRETCH * 48 + 10_000_000 % STRETCH // 1024
    assert found["windows"] + found["dropped"] + found["ignored"] == found["cut"]
    assert found["adds_up"] and found["misplaced"] == found["errors"] == 0
    assert min(found["windows"], found["dropped"], found["ignored"]) > 0
    assert found["ignored"] <= (10_000_000 // (STRETCH * STRETCHES) + (SILENT < STRETCHES)) * 48
    assert max(found["resident_bytes"]) < found["resident_bytes"][0] + 100 * 2**20
