# SPDX-License-Identifier: GPL-3.0-or-later
"""Each window exactly once, in order, whatever the pieces in which the samples come."""

import numpy as np
import pytest
from gnuradio.amc.errors import AmcError
from gnuradio.amc.windows import StreamContext, WindowCutter
from hypothesis import given
from hypothesis import strategies as st


def ramp(begin, end):
    """Samples that hold their own number."""
    return np.arange(begin, end, dtype=np.float32).astype(np.complex64)


def take_all(cutter, limit):
    starts, frames = [], []
    while True:
        some_starts, some_frames = cutter.take(limit)
        assert len(some_starts) == len(some_frames) <= limit
        if len(some_starts) == 0:
            return starts, frames
        starts += some_starts.tolist()
        frames += list(some_frames)


def expected_starts(begin, end, window, hop):
    return [start for start in range(begin, end, hop) if start + window <= end]


@given(
    window=st.integers(1, 40),
    hop=st.integers(1, 90),
    limit=st.integers(1, 7),
    pieces=st.lists(st.integers(0, 120), max_size=12),
)
def test_windows_do_not_depend_on_the_pieces(window, hop, limit, pieces):
    cutter = WindowCutter(window, hop)
    starts, frames, end = [], [], 0
    for length in pieces:
        cutter.append(ramp(end, end + length))
        end += length
        some_starts, some_frames = take_all(cutter, limit)
        starts += some_starts
        frames += some_frames
    assert cutter.position == end
    assert starts == expected_starts(0, end, window, hop)
    for start, frame in zip(starts, frames, strict=True):
        np.testing.assert_array_equal(frame, ramp(start, start + window))


@given(
    window=st.integers(1, 20),
    hop=st.integers(1, 50),
    stretches=st.lists(st.integers(0, 90), min_size=1, max_size=5),
)
def test_no_window_spans_a_restart(window, hop, stretches):
    cutter = WindowCutter(window, hop)
    begin, starts, expected = 0, [], []
    for length in stretches:
        cutter.restart(begin)
        cutter.append(ramp(begin, begin + length))
        starts += take_all(cutter, 4)[0]
        expected += expected_starts(begin, begin + length, window, hop)
        begin += length
    assert starts == expected


@pytest.mark.parametrize(("samples", "windows"), [(1023, 0), (1024, 1), (1025, 1), (2047, 1), (2048, 2)])
def test_edges_of_a_window(samples, windows):
    cutter = WindowCutter(1024, 1024)
    cutter.append(ramp(0, samples))
    assert len(take_all(cutter, 100)[0]) == windows


def test_restart_says_how_many_samples_filled_no_window():
    cutter = WindowCutter(10, 10)
    cutter.append(ramp(0, 27))
    assert len(take_all(cutter, 100)[0]) == 2
    assert cutter.restart(27) == 7


def test_windows_taken_stay_what_they_were():
    cutter = WindowCutter(8, 4)
    cutter.append(ramp(0, 12))
    _, frames = cutter.take(10)
    copy = frames.copy()
    cutter.append(ramp(12, 40))
    take_all(cutter, 100)
    np.testing.assert_array_equal(frames, copy)


def test_memory_of_windows_is_used_again_once_nobody_has_them():
    cutter, places, kept = WindowCutter(8, 8), set(), []
    for n in range(60):
        cutter.append(ramp(100 * n, 100 * n + 100))
        _, frames = cutter.take(20)
        places.add(frames.ctypes.data // 64)
        if n % 20 == 0:
            kept.append((frames, frames.copy()))
    assert len(places) < 20
    for frames, copy in kept:
        np.testing.assert_array_equal(frames, copy)


def test_a_new_hop_counts_from_the_next_window_on():
    cutter = WindowCutter(4, 4)
    cutter.append(ramp(0, 4))
    assert take_all(cutter, 10)[0] == [0]
    cutter.hop = 2
    cutter.append(ramp(4, 12))
    assert take_all(cutter, 10)[0] == [4, 6, 8]


def test_a_window_is_found_in_a_gap_of_many_appends():
    cutter = WindowCutter(4, 1000)
    for begin in range(0, 2005, 5):
        cutter.append(ramp(begin, begin + 5))
    assert take_all(cutter, 10)[0] == [0, 1000, 2000]


@pytest.mark.parametrize(
    ("window", "hop", "named"),
    [
        (0, 1, "window"),
        (-1, 1, "window"),
        (2**40, 1, "window"),
        (1.5, 1, "window"),
        (4, 0, "hop"),
        (4, -3, "hop"),
        (4, 2**50, "hop"),
        (True, 1, "window"),
    ],
)
def test_absurd_sizes_are_refused(window, hop, named):
    with pytest.raises(AmcError, match=f"^{named} is"):
        WindowCutter(window, hop)


def test_time_of_a_sample():
    context = StreamContext(offset=1000, time=(1_700_000_000, 0.75), sample_rate=1e6)
    assert context.time_at(1000) == (1_700_000_000, 0.75)
    seconds, fraction = context.time_at(1000 + 1_500_000)
    assert seconds == 1_700_000_002
    assert fraction == pytest.approx(0.25)


def test_time_is_unknown_without_a_rate():
    context = StreamContext(offset=5, time=(10, 0.0))
    assert context.time_at(5) == (10, 0.0)
    assert context.time_at(6) is None
    assert StreamContext(sample_rate=1e6).time_at(0) is None


def test_time_goes_on_through_a_retune():
    context = StreamContext(offset=0, time=(100, 0.0), sample_rate=1000.0, frequency=1e6)
    after = context.changed(2500, frequency=2e6)
    assert after == StreamContext(offset=2500, time=(102, 0.5), sample_rate=1000.0, frequency=2e6)
