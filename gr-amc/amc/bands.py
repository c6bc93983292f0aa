# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bands of a capture are occupied: energy detection over a noise floor that the spectrum itself tells."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import fft, ifft
from scipy.signal import windows
from scipy.stats import chi2

from .symbol_rate import estimate_symbol_rate

SMALLEST_TRANSFORM, LARGEST_TRANSFORM = 64, 8192
MAIN_LOBE = 8  # bins, of the window's transform: a tone is no narrower
SHORTEST_SAMPLES = 24 * SMALLEST_TRANSFORM
FALSE_ALARM = 1e-4  # of one spectrum of white noise
SHARE_OF_POWER = 0.99
_FLOOR_QUANTILE = 0.1
_HIGH, _LOW = 2.0, 1.4  # times the floor, at least: a band has a bin over the first, and reaches down to the second
_NEAR = 1.6  # times or parts of the floor, within which a bin is noise
_CLOSE = 0.25  # pieces this near to each other, in widths of the wider one, are one band
_LEAST_LINES = 6  # so many in a row that are evenly spaced are one band
# A region may be the passband of the receiver where it is so much stronger than what lies beside it, or so wide.
_PASSBAND_CONTRAST, _PASSBAND_SHARE = 1e4, 0.5
LEAST_SNR = 0.0  # dB
DYNAMIC_RANGE = 60.0  # dB between the strongest band, or passband, and the weakest that is no by-product of it
_CORE_LEVEL, _CORE_WIDTH = 0.15, 0.6  # of the largest power in a band, and of its width
_NOISE_SAMPLES = 1 << 17
_CUT_BAND = 0.25  # cycles per sample


@dataclass(frozen=True)
class Band:
    """An occupied band.

    ``centre`` (from -0.5 to 0.5) and ``bandwidth`` in cycles per sample; ``power`` in dBFS, without the noise;
    ``snr`` in dB, to the noise in ``bandwidth``.
    """

    centre: float
    bandwidth: float
    power: float
    snr: float

    @property
    def lower(self) -> float:
        return self.centre - self.bandwidth / 2

    @property
    def upper(self) -> float:
        return self.centre + self.bandwidth / 2


@dataclass(frozen=True)
class _Region:
    """Bins ``first`` to ``last`` (without it), over a noise floor float64 (last - first,)."""

    first: int
    last: int
    floor: np.ndarray
    may_be_passband: bool


def as_wanted(bands: list[Band], centre: float | None, bandwidth: float | None) -> list[Band]:
    """The bands as settings have them that win over what was found: the one around ``centre``, each of ``bandwidth``.

    In cycles per sample; None where it is left to what was found.
    """
    if centre is not None:
        bands = [replace(band, centre=centre) for band in bands if band.lower <= centre <= band.upper][:1]
    if bandwidth is not None:
        bands = [replace(band, bandwidth=bandwidth) for band in bands]
    return bands


def find_bands(samples: np.ndarray, limit: int | None = None, lowest: float = -0.5) -> list[Band]:
    """The occupied bands of complex64 samples (n,), the most powerful one first, at most ``limit``.

    ``lowest`` leaves out what lies below, such as the empty half of an analytic signal (0.0). Too few samples
    (``SHORTEST_SAMPLES``) have no band. White noise has one in about ``FALSE_ALARM`` of the cases.

    The spectrum is Welch's averaged periodogram (IEEE Trans. Audio Electroacoust. 15(2), 1967) with a
    Blackman-Harris window; the floor its tenth part, put right by the chi-square distribution of such averages. Bins
    over a high threshold, with their surroundings over a low one, are a region, and so is a row of evenly spaced lines,
    which is what a periodic signal has. A region far above the floor or over most of the spectrum may be the passband
    of a receiver (a single-sideband filter, the roll-off at the edges of the capture): it is searched once more by its
    own floor, which may have a slope, and is no band if it is like Gaussian noise. A band is what holds 99 % of a
    region's power (the occupied bandwidth of ITU-R SM.328). A line at exactly 0 is taken for the receiver's own.
    """
    density, averages = power_spectrum(samples)
    if averages == 0:
        return []
    bins = len(density)
    first = int(np.ceil((lowest + 0.5) * bins))
    weakest = 10 * np.log10(max(density[first:].sum(), np.finfo(float).tiny)) - DYNAMIC_RANGE
    bands = []
    for region in _regions(density, averages, first, bins):
        band = _band(density, region)
        if band is None or band.snr < LEAST_SNR or band.power < weakest or _is_receiver_line(band, bins):
            continue
        if region.may_be_passband and _is_noise(samples, band, density):
            continue
        bands.append(band)
    bands.sort(key=lambda band: -band.power)
    return bands[:limit]


def power_spectrum(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Power in each bin float64 (bins,), from frequency -0.5 up, and of how many periodograms it is the average.

    Their sum is the power of the samples. Frames with samples that are no finite number are left out.
    """
    if len(samples) < SHORTEST_SAMPLES:
        return np.zeros(SMALLEST_TRANSFORM), 0
    bins = int(np.clip(2 ** round(np.log2(len(samples) / 24)), SMALLEST_TRANSFORM, LARGEST_TRANSFORM))
    window = _window(bins)
    frames = sliding_window_view(samples, bins)[:: bins // 2]
    total, count = np.zeros(bins), 0
    for begin in range(0, len(frames), 64):
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.abs(fft(frames[begin : begin + 64] * window)).astype(np.float64) ** 2
        finite = np.isfinite(power).all(axis=1)
        total += power[finite].sum(axis=0)
        count += int(finite.sum())
    scale = max(count, 1) * bins * np.sum(window.astype(np.float64) ** 2)
    return np.fft.fftshift(total) / scale, count


@cache
def _window(bins: int) -> np.ndarray:
    return windows.blackmanharris(bins, sym=False).astype(np.float32)


def find_core(samples: np.ndarray, band: Band) -> Band | None:
    """What stands far out of the rest of a band of complex64 samples (n,), None where no such part is much narrower.

    A receiver's passband that is not known for one, as its noise is not level, may hold a signal there.
    """
    density, averages = power_spectrum(samples)
    bins = len(density)
    first, last = (int(np.clip(round((edge + 0.5) * bins), 0, bins)) for edge in (band.lower, band.upper))
    inside = density[first:last]
    if averages == 0 or len(inside) < 4 * MAIN_LOBE:
        return None
    smooth = np.convolve(inside, np.full(MAIN_LOBE, 1 / MAIN_LOBE), "same")
    core = np.flatnonzero(smooth > _CORE_LEVEL * smooth.max())
    begin, end = int(core[0]), int(core[-1]) + 1
    if not 1.5 * MAIN_LOBE < end - begin < _CORE_WIDTH * len(inside):
        return None
    floor = np.median(np.concatenate((inside[:begin], inside[end:])))
    return _band(density, _Region(first + begin, first + end, np.full(end - begin, floor), False))


# --- regions ---------------------------------------------------------------------------------------


def _regions(density: np.ndarray, averages: int, first: int, last: int) -> Iterator[_Region]:
    inside = density[first:last]
    floor = np.full(len(inside), _floor_level(inside, averages))
    for begin, end in _runs(inside, floor, averages):
        contrast = inside[begin:end].mean() / max(floor[0], np.finfo(float).tiny)
        strong, wide = contrast > _PASSBAND_CONTRAST, end - begin > _PASSBAND_SHARE * len(inside)
        if not strong and not wide:
            yield _Region(first + begin, first + end, floor[begin:end], False)
            continue
        # Flanks of a wide signal that is not strong may pass for noise, so there most of it must be noise.
        signals = _within_passband(inside[begin:end], floor[0], averages, 0.1 if strong else 0.5)
        for start, stop, own_floor in signals:
            yield _Region(first + begin + start, first + begin + stop, own_floor, False)
        if not signals:
            yield _Region(first + begin, first + end, floor[begin:end], True)


def _floor_level(density: np.ndarray, averages: int) -> float:
    """Of white noise, the mean of ``density`` where at least a tenth of it is noise."""
    expected = chi2.ppf(_FLOOR_QUANTILE, 2 * averages) / (2 * averages)
    return float(np.quantile(density, _FLOOR_QUANTILE) / expected)


def _runs(density: np.ndarray, floor: np.ndarray, averages: int) -> list[tuple[int, int]]:
    """First and last bin (without it) of what is over the floor, combs of lines and close pieces joined."""
    degrees = 2 * averages
    high = max(_HIGH, chi2.isf(FALSE_ALARM / len(density), degrees) / degrees)
    low = max(_LOW, 1 + 2 / np.sqrt(averages))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], density > low * floor, [False])).astype(np.int8)))
    over_low = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    pieces = [(begin, end) for begin, end in over_low if (density[begin:end] >= high * floor[begin:end]).any()]
    runs: list[tuple[int, int]] = []
    for begin, end in _combs_joined(density, pieces):
        if runs and begin - runs[-1][1] <= _CLOSE * max(end - begin, runs[-1][1] - runs[-1][0]):
            begin = runs.pop()[0]
        runs.append((begin, end))
    return runs


def _combs_joined(density: np.ndarray, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each row of evenly spaced lines as one run: what has a period, as sweeps have, shines at its multiples alone."""
    peaks = [begin + int(density[begin:end].argmax()) for begin, end in runs]
    joined = []
    first = 0
    while first < len(runs):
        last = first
        while last + 1 < len(runs) and _goes_on(runs, peaks, first, last + 1):
            last += 1
        if last - first + 1 < _LEAST_LINES:
            last = first
        joined.append((runs[first][0], runs[last][1]))
        first = last + 1
    return joined


def _goes_on(runs: list[tuple[int, int]], peaks: list[int], first: int, number: int) -> bool:
    """Whether run ``number`` is one more line of the comb that begins with ``first``."""
    are_lines = all(end - begin < 1.5 * MAIN_LOBE for begin, end in (runs[first], runs[number]))
    spacing = peaks[first + 1] - peaks[first]
    return are_lines and abs(peaks[number] - peaks[number - 1] - spacing) <= 1


def _within_passband(
    density: np.ndarray, outside: float, averages: int, least_noise: float
) -> list[tuple[int, int, np.ndarray]]:
    """Signals in what may be a passband: first and last bin (without it), and the floor under each.

    None where it is no passband: of that, ``least_noise`` is noise beside its signals, and these are not only a
    carrier in the middle.
    """
    # The slopes of the filter lie lower than half way down, in dB, to what is outside; what is left has round corners.
    reached = np.flatnonzero(density > np.sqrt(density.mean() * outside))
    edge = max(MAIN_LOBE // 2, len(reached) // 20)
    first, last = int(reached[0]) + edge, int(reached[-1]) + 1 - edge
    if last - first < 2 * MAIN_LOBE:
        return []
    inside = density[first:last]
    floor = _passband_floor(inside, averages)
    runs = _runs(inside, floor, averages)
    if not runs or _is_carrier(runs, len(inside)):
        return []
    powers = [inside[begin:end].sum() for begin, end in runs]
    strong = [run for run, power in zip(runs, powers, strict=True) if power > 0.1 * max(powers)]
    # What lies between strong ones may be a signal's own, as between the tones of frequency shift keying.
    beside = np.concatenate((np.arange(strong[0][0]), np.arange(strong[-1][1], len(inside))))
    if _near(inside[beside], floor[beside]).sum() < least_noise * len(inside):
        return []
    return [(first + begin, first + end, floor[begin:end]) for begin, end in runs]


def _is_carrier(runs: list[tuple[int, int]], bins: int) -> bool:
    """Whether all there is is a line in the middle, as amplitude modulation has it."""
    (begin, end), *others = runs
    return not others and end - begin < 1.5 * MAIN_LOBE and abs(begin + end - bins) < 0.2 * bins


def _passband_floor(density: np.ndarray, averages: int) -> np.ndarray:
    """A level floor, or a straight line in dB where that is what most of ``density`` lies on."""
    level = np.full(len(density), _floor_level(density, averages))
    decibels = 10 * np.log10(np.maximum(density, np.finfo(float).tiny))
    places = np.arange(len(density))
    chosen = decibels < np.quantile(decibels, 3 * _FLOOR_QUANTILE)
    for _ in range(8):
        line = 10 ** (np.polyval(np.polyfit(places[chosen], decibels[chosen], 1), places) / 10)
        chosen = _near(density, line)
        if chosen.sum() < 2 * MAIN_LOBE:
            return level
    # A line along the top of a signal has the signal's flanks below it, and one along noise has nothing.
    is_top = (density < line / _NEAR).sum() > _FLOOR_QUANTILE * len(density)
    if is_top or chosen.sum() < max(len(density) / 2, 1.3 * _near(density, level).sum()):
        return level
    # Beyond this the line follows a signal and no longer the noise.
    return np.clip(line, level, 10 * level)


def _near(density: np.ndarray, floor: np.ndarray) -> np.ndarray:
    return np.abs(np.log(np.maximum(density, np.finfo(float).tiny) / floor)) < np.log(_NEAR)


# --- bands -----------------------------------------------------------------------------------------


def _band(density: np.ndarray, region: _Region) -> Band | None:
    bins = len(density)
    power = np.maximum(density[region.first : region.last] - region.floor, 0)
    total = power.sum()
    if total <= 0:
        return None
    # Steps become ramps, so that the edges do not jump from bin to bin.
    reached = np.concatenate(([0.0], np.cumsum(power) / total))
    missing = (1 - SHARE_OF_POWER) / 2
    low, high = np.interp((missing, 1 - missing), reached, np.arange(len(reached)))
    noise = float(np.mean(region.floor)) * (high - low)
    return Band(
        centre=float((region.first + (low + high) / 2 - 0.5) / bins - 0.5),
        bandwidth=float((high - low) / bins),
        power=float(10 * np.log10(total)),
        snr=float(10 * np.log10(total / max(noise, np.finfo(float).tiny))),
    )


def _is_receiver_line(band: Band, bins: int) -> bool:
    return abs(band.centre) < 1 / bins and band.bandwidth < MAIN_LOBE / bins


def _is_noise(samples: np.ndarray, band: Band, density: np.ndarray) -> bool:
    """Whether the band has no symbol rate, and the fourth moment of Gaussian noise, 2: more, as crackling has, only if
    its spectrum is as flat as that of noise.
    """
    part = _cut_out(samples[:_NOISE_SAMPLES], band)
    power = np.abs(part.astype(np.complex128)) ** 2
    if not np.isfinite(power).all():
        return False
    excess = np.mean(power**2) / np.mean(power) ** 2 - 2
    # Four standard deviations of the estimate, and what a gain that is not quite steady adds.
    tolerance = 0.1 + 4 * 2 / np.sqrt(len(part) * _CUT_BAND)
    if excess < -tolerance or estimate_symbol_rate(part, _CUT_BAND).rate is not None:
        return False
    first, last = (np.array((band.lower, band.upper)) + 0.5) * len(density)
    inside = density[max(int(first), 0) : int(last) + 1]
    return excess < tolerance or np.mean(_near(inside, np.median(inside))) > 0.75


def _cut_out(samples: np.ndarray, band: Band) -> np.ndarray:
    """The band alone, at 0 Hz and ``_CUT_BAND`` wide."""
    count = len(samples)
    half = int(band.bandwidth * count / 2)
    kept = np.arange(-half, half + 1)
    out = np.zeros(int(2 * half / _CUT_BAND) + 1, np.complex64)
    out[kept] = fft(samples)[(kept + round(band.centre * count)) % count]
    return ifft(out)
