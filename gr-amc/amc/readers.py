# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens recordings of samples, whatever the format of their file.

Every reader answers with a ``Recording``: stretches without a gap (``Segment``), each read as blocks of complex64.

======================================  ============================================================================
file                                    read as
======================================  ============================================================================
NAME.sigmf-meta, NAME.sigmf-data        SigMF, with the dataset ``core:dataset`` names where there is one
NAME.sigmf (.sigmf.gz, .sigmf.xz)       SigMF archive (tar) of one recording
.wav                                    two channels: I and Q; one channel: a real signal (PCM 8 to 32 bit, float)
.cf32 .fc32 .cfile .c64 .cfloat .iq     float32 I, Q
.cf64 .fc64 .c128                       float64 I, Q
.cs16 .sc16 .ci16 .c16                  int16 I, Q; full scale is 32767
.cs8 .sc8 .ci8 .c8                      int8 I, Q; full scale is 127
.cu8 .uc8                               uint8 I, Q (rtl_sdr); (x - 127.5) / 127.5
======================================  ============================================================================

A name may tell more, in words between ``_``, ``-`` and spaces: the format where the ending does not (``_cs16``), the
sample rate (``_2.4Msps``, ``_48k``), the frequency (``_433.92MHz``) and the time in UTC (``_20240131_235959Z``), or all
four as gqrx writes them (``gqrx_20240131_235959_433920000_2400000_fc.raw``).

A real signal becomes its analytic signal at the same rate: a cosine of amplitude 1 a complex tone of amplitude 1.
"""

import os
from dataclasses import replace
from pathlib import Path

from .errors import AmcError
from .file_names import NameHints, hints_from_name
from .limits import LATEST_TIME, usable_frequency, usable_rate
from .reading import file_size
from .recordings import Recording, Segment, Source, whole_samples
from .sample_formats import ALIASES, FORMATS, SampleFormat, parse_format
from .sigmf_recordings import is_sigmf, open_sigmf
from .wav import open_wav

_SAYING_NOTHING = ("raw", "bin", "dat")


def open_recording(
    path: str | Path,
    *,
    sample_format: str | None = None,
    sample_rate: float | None = None,
    frequency: float | None = None,
) -> Recording:
    """Opens a recording; what is given here wins over its metadata, and that over its name.

    Raises AmcError for a file that is missing, unreadable, empty, truncated, of no known format, or contradicts its
    metadata.
    """
    path = usable_path(path)
    given = (sample_format or "").strip().lower()
    # Samples may be read without their metadata, when the format is given.
    samples = given not in ("", "sigmf") and path.name.endswith(".sigmf-data")
    alone = samples and not os.path.exists(path.with_suffix(".sigmf-meta"))
    if given == "sigmf" or (is_sigmf(path.name) and not alone):
        if given == "wav":
            raise AmcError(f"{path} is a SigMF recording, whose samples are no WAV file; leave --format away.")
        recording = open_sigmf(path, given if given != "sigmf" else "")
        return _with_settings(recording, NameHints(), sample_rate, frequency)
    hints = hints_from_name(path.name)
    name = given or hints.format
    if name is None:
        file_size(path)
        raise AmcError(f"the name of {path} does not tell its sample format; give it (--format): {FORMATS}.")
    recording = open_wav(path) if name == "wav" else _open_raw(path, parse_format(name))
    return _with_settings(recording, hints, sample_rate, frequency)


def is_recording_name(name: str, sample_format: str | None = None) -> bool:
    """Whether a file of that name, found in a folder, is a recording.

    Its ending says so; or it says nothing (.raw .bin .dat), and the rest of the name or ``sample_format`` tells how to
    read it. The annotations that this program writes, and the link to the samples beside them, are none.
    """
    if is_sigmf(name) or sample_format == "sigmf":
        return is_sigmf(name) and not name.lower().endswith((".amc.sigmf-meta", ".amc.sigmf-data"))
    ending = Path(name).suffix.lower().removeprefix(".")
    told = sample_format or hints_from_name(name).format
    return ending in ALIASES or ending == "wav" or (ending in _SAYING_NOTHING and told is not None)


def usable_path(path: str | Path) -> Path:
    """The path of a recording; raises AmcError where no file can have it."""
    text = os.fspath(path)
    try:
        if text and b"\0" not in os.fsencode(text):
            return Path(text)
    except UnicodeEncodeError:
        pass
    raise AmcError("the name of a recording is empty or no possible path; give the path of a file.")


def _with_settings(
    recording: Recording, hints: NameHints, sample_rate: float | None, frequency: float | None
) -> Recording:
    if sample_rate is not None and usable_rate(sample_rate) is None:
        raise AmcError(f"the sample rate {sample_rate:g} is out of range; give samples per second, at most 1e12.")
    if frequency is not None and usable_frequency(frequency) is None:
        raise AmcError(f"the frequency {frequency:g} is out of range; give Hz, at most 1e12.")
    inferred = []
    rate = sample_rate or recording.sample_rate
    if rate is None and hints.sample_rate is not None:
        rate = hints.sample_rate
        inferred.append("sample_rate")
    if frequency is None and hints.frequency is not None:
        inferred.append("frequency")
    segments = tuple(
        replace(
            segment,
            time=segment.time or hints.time,
            frequency=next((f for f in (frequency, segment.frequency, hints.frequency) if f is not None), None),
        )
        for segment in recording.segments
    )
    for segment in segments:
        if segment.time and rate and segment.time[0] + segment.sample_count / rate > LATEST_TIME:
            raise AmcError(f"{recording.path} would end after the year 9999; correct its time or sample rate.")
    return replace(recording, sample_rate=rate, segments=segments, inferred=tuple(inferred))


def _open_raw(path: Path, sample_format: SampleFormat) -> Recording:
    size = file_size(path)
    segment = Segment(0, whole_samples(path, size, sample_format), 0)
    return Recording(path, sample_format, None, (segment,), Source(path, 0, size))
