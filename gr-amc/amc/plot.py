# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture of a recording: its spectrogram, and under it the labels and their confidence.

What is kept has the size of the picture, not of the recording: each sample and each window is added to its column.
"""

import sys
import warnings
from typing import BinaryIO

import numpy as np

from .decide import UNKNOWN
from .errors import AmcError
from .recordings import Recording, Segment
from .report import Result, frequency_unit
from .strips import is_dark, label_colours, long_runs

COLUMNS = 1200
BINS = 512
MOST_FRAMES = 1 << 17  # of so many spectra a longer recording is sampled; more would only cost time
DYNAMIC_RANGE_DB = 70.0
_EMPTY_COLOUR = (0.95, 0.95, 0.95)


def check_matplotlib() -> None:
    """Loads what draws, so that its absence is known before the work; raises AmcError where it cannot be loaded."""
    # Not above, because it takes half a second that a run without a picture need not wait.
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise AmcError(
            f"a picture needs matplotlib, which {sys.executable} cannot import; install it for that Python, or "
            "leave the picture away."
        ) from None


class Picture:
    """Collects samples and results of a recording, in order, and draws them.

    ``title`` is shown above, ``classes`` fix each label's colour. Raises AmcError where matplotlib is missing.
    """

    def __init__(self, recording: Recording, classes: tuple[str, ...], title: str) -> None:
        check_matplotlib()
        self._recording = recording
        self._title = title
        self._labels = (*classes, UNKNOWN)
        self._numbers = {label: number for number, label in enumerate(self._labels)}
        self._first = recording.segments[0].sample_start
        last = recording.segments[-1]
        self._length = last.sample_start + last.sample_count - self._first
        # Short recordings get smaller spectra, so that time is still resolved.
        self._bins = int(np.clip(2 ** round(np.log2(max(self._length, 1) / 64)), 16, BINS))
        self._columns = int(np.clip(self._length // self._bins, 1, COLUMNS))
        # Half overlapped, so that no column is without a spectrum.
        self._step = max(self._bins // 2, self._length // MOST_FRAMES)
        self._power = np.zeros((self._columns, self._bins))
        self._frames = np.zeros(self._columns, np.int64)
        self._votes = np.zeros((self._columns, len(self._labels)))
        self._windows = np.zeros(len(self._labels), np.int64)
        self._confidence = np.zeros(self._columns)
        self._window = np.hanning(self._bins).astype(np.float32)
        self._segment: Segment | None = None

    def add_samples(self, samples: np.ndarray, segment: Segment) -> None:
        """Complex64 samples (n,) that follow the last ones; in a new segment, its first ones."""
        if self._segment is not segment:
            self._segment = segment
            self._held, self._next = np.empty(0, np.complex64), segment.sample_start - self._first
            self._end = self._next
        begin, self._end = self._end - len(self._held), self._end + len(samples)
        samples = np.concatenate((self._held, samples))
        starts = np.arange(self._next - begin, len(samples) - self._bins + 1, self._step)
        if len(starts):
            self._add_frames(samples, starts, begin)
            self._next = begin + int(starts[-1]) + self._step
        self._held = samples[max(self._next - begin, 0) :].copy()

    def _add_frames(self, samples: np.ndarray, starts: np.ndarray, begin: int) -> None:
        for part in np.array_split(starts, -(-len(starts) // 256)):
            frames = samples[part[:, None] + np.arange(self._bins)]
            with np.errstate(over="ignore", invalid="ignore"):
                power = np.abs(np.fft.fft(frames * self._window)) ** 2
                good = np.isfinite(power.sum(axis=1))
            columns = self._column(begin + part[good] + self._bins // 2)
            np.add.at(self._power, columns, power[good])
            np.add.at(self._frames, columns, 1)

    def _column(self, sample: np.ndarray) -> np.ndarray:
        return np.minimum(sample * self._columns // self._length, self._columns - 1)

    def add_result(self, result: Result) -> None:
        """One more window."""
        number = self._numbers[result.label]
        begin, end = result.sample_start - self._first, result.sample_start - self._first + result.sample_count
        first = min(begin * self._columns // self._length, self._columns - 1)
        covered = slice(first, max(-(-end * self._columns // self._length), first + 1))
        self._votes[covered, number] += 1
        self._confidence[covered] += result.confidence
        self._windows[number] += 1

    def save(self, file: BinaryIO) -> None:
        """Writes the PNG."""
        # See check_matplotlib; and pyplot would want a display.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 6.4), dpi=110, layout="constrained")
        spectrum, strip, trace = figure.subplots(
            3, 1, sharex=True, gridspec_kw={"height_ratios": (10, 1.2, 2), "hspace": 0.03}
        )
        unit, scale = self._time_unit()
        extent = (self._first * scale, (self._first + self._length) * scale)
        self._draw_spectrum(figure, spectrum, extent)
        self._draw_strip(figure, strip, extent)
        self._draw_confidence(trace, extent)
        trace.set_xlabel(unit)
        spectrum.set_title(self._title, loc="left", fontsize=11, parse_math=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name may have letters that the font lacks
            figure.savefig(file, format="png")

    def _time_unit(self) -> tuple[str, float]:
        rate = self._recording.sample_rate
        return ("time in seconds", 1 / rate) if rate else ("time in samples", 1.0)

    def _frequency_axis(self) -> tuple[str, float, float]:
        """Name, lowest and highest frequency of the axis."""
        real, rate = not self._recording.format.complex, self._recording.sample_rate
        lower = 0.0 if real else -0.5
        if not rate:
            return "frequency in cycles per sample", lower, 0.5
        tunings = {segment.frequency for segment in self._recording.segments}
        centre = tunings.pop() if len(tunings) == 1 else None
        name = "frequency" if centre or real else "frequency from the centre"
        lower, upper = (centre or 0) + lower * rate, (centre or 0) + 0.5 * rate
        unit, scale = frequency_unit(max(abs(lower), abs(upper)))
        return f"{name} in {unit}", lower / scale, upper / scale

    def _draw_spectrum(self, figure, axes, extent: tuple[float, float]) -> None:
        counted = self._frames > 0
        with np.errstate(divide="ignore"):
            level = 10 * np.log10(self._power / np.maximum(self._frames, 1)[:, None] / self._window.sum() ** 2)
        level[~counted] = np.nan
        image = np.fft.fftshift(level, axes=1).T
        if not self._recording.format.complex:
            image = image[self._bins // 2 :]
        name, lower, upper = self._frequency_axis()
        heard = image[np.isfinite(image)]
        low, high = np.percentile(heard, (10, 99.9)) if len(heard) else (-100.0, 0.0)
        low = min(max(low - 3, high - DYNAMIC_RANGE_DB), high - 10)
        axes.set_facecolor("black")
        drawn = axes.imshow(
            np.maximum(image, low),
            aspect="auto",
            origin="lower",
            extent=(*extent, lower, upper),
            vmin=low,
            vmax=high,
            cmap="viridis",
            interpolation="nearest",
        )
        axes.set_ylabel(name)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.tick_params(labelbottom=False)
        figure.colorbar(drawn, ax=axes, pad=0.01, label="power in dBFS")

    def _draw_strip(self, figure, axes, extent: tuple[float, float]) -> None:
        colours = label_colours(self._labels)
        heard = self._votes.sum(axis=1) > 0
        winners = np.where(heard, self._votes.argmax(axis=1), -1)
        image = np.where(heard[:, None], colours[winners] / 255, _EMPTY_COLOUR)
        axes.imshow(image[None], aspect="auto", extent=(*extent, 0, 1), interpolation="nearest")
        axes.set_yticks([])
        axes.tick_params(labelbottom=False)
        axes.set_ylabel("label", rotation=0, ha="right", va="center")
        width = (extent[1] - extent[0]) / self._columns
        for winner, begin, end in long_runs(winners, self._columns // 80):
            label = self._labels[winner]
            # Only where it has room.
            if winner >= 0 and (end - begin) / self._columns > 0.0095 * len(label) + 0.005:
                axes.text(
                    extent[0] + (begin + end) / 2 * width,
                    0.5,
                    label,
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if is_dark(colours[winner]) else "black",
                    parse_math=False,
                )
        self._draw_legend(figure, colours)

    def _draw_legend(self, figure, colours: np.ndarray) -> None:
        from matplotlib.patches import Patch

        total = self._windows.sum()
        order = [number for number in np.argsort(-self._windows, kind="stable") if self._windows[number]]
        patches = [
            Patch(
                facecolor=colours[number] / 255,
                label=f"{self._labels[number][:24]}  {_percent(self._windows[number] / total)}",
            )
            for number in order[:30]
        ]
        if not patches:
            return
        legend = figure.legend(
            handles=patches,
            loc="outside right upper",
            fontsize=9,
            frameon=False,
            title="share of windows" if len(order) <= 30 else f"the first 30 of {len(order)}",
        )
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _draw_confidence(self, axes, extent: tuple[float, float]) -> None:
        windows = self._votes.sum(axis=1)
        with np.errstate(invalid="ignore"):
            confidence = np.where(windows > 0, self._confidence / windows, np.nan)
        edges = np.linspace(*extent, self._columns + 1)
        axes.stairs(confidence, edges, baseline=None, color="0.2", linewidth=0.9)
        axes.set_ylim(0, 1.05)
        axes.set_yticks([0, 0.5, 1])
        axes.set_xlim(*extent)
        axes.grid(axis="y", color="0.88")
        axes.set_ylabel("confidence")
        axes.ticklabel_format(axis="x", useOffset=False)


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.005 else f"{100 * share:.0f} %"
