# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the labels of a recording as SigMF annotations, beside the recording and without changing it.

The annotations of NAME.cf32, NAME.wav, NAME.sigmf-meta or NAME.sigmf go to NAME.amc.sigmf-meta, whose ``core:dataset``
names the file that holds the samples. Where that file holds nothing but samples, NAME.amc.sigmf-data is a link to it,
for viewers that go by the name alone, such as inspectrum. What a SigMF recording said already is kept, annotations
too, but for those that an earlier run of this program made.
"""

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .decide import UNKNOWN
from .errors import AmcError
from .files import replacing
from .limits import LARGEST_HERTZ
from .recordings import Recording, Segment
from .report import Result, iso_time

GENERATOR = "gr-amc"
SIGMF_VERSION = "1.2.5"
LONGEST_LABEL = 20
MOST_WAITING = 1 << 12  # annotations that wait for one that began before them and still goes on
ANNOTATIONS = ".amc.sigmf-meta"
_EXTENSION = {"name": "signal", "version": "1.0.0", "optional": True}

_DETAILS = {
    "OOK": {"type": "digital", "mod_class": "ook", "order": 2},
    "BPSK": {"type": "digital", "mod_class": "psk", "order": 2},
    "QPSK": {"type": "digital", "mod_class": "psk", "order": 4},
    "OQPSK": {"type": "digital", "mod_class": "psk", "symbol_variant": "offset", "order": 4},
    "GMSK": {"type": "digital", "mod_class": "msk", "class_variant": "GMSK"},
    "FM": {"type": "analog", "mod_class": "fm"},
    "AM-SSB-WC": {"type": "analog", "mod_class": "ssb", "carrier_variant": "with_carrier"},
    "AM-SSB-SC": {"type": "analog", "mod_class": "ssb", "carrier_variant": "suppressed_carrier"},
    "AM-DSB-WC": {"type": "analog", "mod_class": "dsb", "carrier_variant": "with_carrier"},
    "AM-DSB-SC": {"type": "analog", "mod_class": "dsb", "carrier_variant": "suppressed_carrier"},
}


def signal_detail(label: str) -> dict | None:
    """The ``signal:detail`` object of SigMF's canonical extension for a class, or None where there is none."""
    if label in _DETAILS:
        return dict(_DETAILS[label])
    match = re.fullmatch(r"(\d{1,4})(ASK|PSK|QAM|APSK)", label, re.ASCII)
    if not match:
        return None
    order, kind = int(match[1]), match[2].lower()
    # The extension has no class for amplitude and phase together.
    kind_fields = {"class_variant": "APSK"} if kind == "apsk" else {"mod_class": kind}
    return {"type": "digital", **kind_fields, "order": order}


# --- where ----------------------------------------------------------------------------------------


def annotation_path(path: Path) -> Path:
    """Where the annotations of a recording of that path go if nothing else is said."""
    name = re.sub(r"\.(sigmf(-data|-meta|\.gz|\.xz)?|[^.]*)$", "", path.name, flags=re.IGNORECASE)
    return path.with_name(f"{name or path.name}{ANNOTATIONS}")


@dataclass(frozen=True)
class Place:
    """How the metadata finds the samples: the file's name, the bytes before and behind them, and whether to link it."""

    dataset: str | None
    header_bytes: int
    trailing_bytes: int
    link: bool


def check_annotatable(recording: Recording, path: Path | None) -> Place:
    """How a metadata file at ``path`` (None: not kept as a file) can name the samples; raises AmcError if it cannot."""
    source = recording.source
    if source.member is not None:
        raise AmcError(
            f"the samples of {recording.path} are compressed; extract the archive, then annotate what was in it."
        )
    if recording.format.bits == 24:
        raise AmcError(f"{recording.path} has 24-bit samples, which SigMF does not know; convert it to 16 or 32 bits.")
    try:
        trailing = os.stat(source.path).st_size - source.start - source.size
    except OSError as error:
        raise AmcError(f"{source.path} cannot be read: {error.strerror}; check the file.") from None
    samples = recording.sample_count * recording.format.size
    pure = source.start == 0 and trailing == 0 and samples == source.size
    same_folder = path is None or os.path.realpath(path.parent) == os.path.realpath(source.path.parent)
    if not pure and not same_folder:
        raise AmcError(
            f"{source.path} holds more than samples, so its annotations must lie in its folder; leave --out or "
            "--output-dir away, or give a path there."
        )
    return Place(source.path.name if same_folder else None, source.start, max(trailing, 0), pure)


def link_dataset(recording: Recording, path: Path) -> bool:
    """Makes NAME.sigmf-data, beside the metadata NAME.sigmf-meta, a link to the samples; True if it is one now.

    A file of that name that is not a link is left as it is.
    """
    link = path.with_suffix(".sigmf-data")
    target = os.path.relpath(os.path.realpath(recording.source.path), os.path.realpath(path.parent))
    try:
        if link.is_symlink():
            if os.readlink(link) == target:
                return True
            link.unlink()
        link.symlink_to(target)
    except OSError:
        return False
    return True


@contextmanager
def write_annotations(recording: Recording, to: Path | TextIO) -> Iterator[Callable[[Result, Segment], None]]:
    """Gives what takes each result and its segment, in order; at the end the metadata is whole.

    ``to`` is the metadata file's path, which gets the link to the samples beside it where they need or allow one, or
    an open file that keeps nothing, such as standard output. Raises AmcError where either cannot be written.
    """
    path = to if isinstance(to, Path) else None
    place = check_annotatable(recording, path)
    with nullcontext(to) if path is None else replacing(str(path), "w") as file:
        writer = AnnotationWriter(file, recording, place)
        yield writer.add
        writer.finish()
    if path is None:
        return
    linked = place.link and link_dataset(recording, path)
    if not linked and place.dataset is None:
        path.unlink()
        raise AmcError(f"{path} needs a link to the samples beside it, which cannot be made; leave --out away.")


# --- what -----------------------------------------------------------------------------------------


class AnnotationWriter:
    """Writes a ``.sigmf-meta`` as results come in, so that its length is no matter of memory.

    Consecutive windows of one label are one annotation where they touch or overlap and lie in one segment, and in one
    band where signals were found. ``add`` takes the results in order; nothing is complete before ``finish``.
    """

    def __init__(self, file: TextIO, recording: Recording, place: Place) -> None:
        self._file = file
        self._recording = recording
        metadata = recording.metadata or {}
        self._others = sorted(
            (item for item in metadata.get("annotations", []) if item.get("core:generator") != GENERATOR),
            key=lambda item: item.get("core:sample_start", 0),
            reverse=True,
        )
        self._runs: deque[Run] = deque()  # in order of their starts
        self._latest: dict[tuple[float, float] | None, Run] = {}  # of each band, which may go on
        self._first = True
        file.write('{\n"global": ' + json_text(global_fields(recording, place), 4))
        file.write(',\n"captures": ' + json_text(_captures(recording, place), 4))
        file.write(',\n"annotations": [')

    def add(self, result: Result, segment: Segment) -> None:
        """One more window of ``segment``."""
        run = self._latest.get(result.edges)
        if run and run.takes(result, segment):
            run.extend(result)
            return
        self._latest = {edges: run for edges, run in self._latest.items() if result.sample_start <= run.end}
        self._runs.append(Run(result, segment))
        self._latest[result.edges] = self._runs[-1]
        while self._latest.get(self._runs[0].edges) is not self._runs[0] or len(self._runs) > MOST_WAITING:
            run = self._runs.popleft()
            if self._latest.get(run.edges) is run:
                del self._latest[run.edges]
            self._write_run(run)

    def finish(self) -> None:
        """Writes what is left; the file is then whole."""
        while self._runs:
            self._write_run(self._runs.popleft())
        while self._others:
            self._write(self._others.pop())
        self._file.write("\n]\n}\n")

    def _write_run(self, run: "Run") -> None:
        while self._others and self._others[-1].get("core:sample_start", 0) <= run.start:
            self._write(self._others.pop())
        self._write(run.annotation(self._recording))

    def _write(self, annotation: dict) -> None:
        self._file.write(("\n" if self._first else ",\n") + json_text(annotation))
        self._first = False


class Run:
    """Consecutive windows of one label, in one band where signals were found, which are one annotation."""

    def __init__(self, result: Result, segment: Segment) -> None:
        self.label, self.start, self.segment, self.edges = result.label, result.sample_start, segment, result.edges
        self.end = self.start
        self.confidences, self.lowest, self.count = 0.0, 1.0, 0
        self.extend(result)

    def takes(self, result: Result, segment: Segment) -> bool:
        """Whether the next window has the same label and band, and touches or overlaps this in the same segment."""
        same = result.label == self.label and result.edges == self.edges and segment is self.segment
        return same and result.sample_start <= self.end

    def extend(self, result: Result) -> None:
        self.end = max(self.end, result.sample_start + result.sample_count)
        self.confidences += result.confidence
        self.lowest = min(self.lowest, result.confidence)
        self.count += 1

    def annotation(self, recording: Recording) -> dict:
        windows = "1 window" if self.count == 1 else f"{self.count} windows, {self.lowest:.2f} at least"
        annotation = {
            "core:sample_start": self.start,
            "core:sample_count": self.end - self.start,
            **_edges(recording, self.segment, self.edges),
            "core:label": self.label[:LONGEST_LABEL],
            "core:comment": f"{self.label}: confidence {self.confidences / self.count:.2f} over {windows}",
            "core:generator": GENERATOR,
        }
        detail = signal_detail(self.label) if self.label != UNKNOWN else None
        if detail:
            annotation["signal:detail"] = detail
        return annotation


def json_text(value: object, indent: int | None = None) -> str:
    """JSON as the files here have it; raises ValueError for a number that JSON does not know."""
    return json.dumps(value, indent=indent, allow_nan=False)


def _edges(recording: Recording, segment: Segment, edges: tuple[float, float] | None) -> dict:
    """The band of the signal, or where that is not known all of the recording; at radio frequency if possible."""
    if not recording.sample_rate:
        return {}
    centre, half = segment.frequency or 0.0, recording.sample_rate / 2
    lower, upper = edges or (centre - half if recording.format.complex else centre, centre + half)
    return {
        "core:freq_lower_edge": max(lower, -LARGEST_HERTZ),
        "core:freq_upper_edge": min(upper, LARGEST_HERTZ),
    }


def global_fields(recording: Recording, place: Place) -> dict:
    """The ``global`` object of the metadata: what was said already, and what is known of samples and place."""
    fields = dict((recording.metadata or {}).get("global", {}))
    fields["core:datatype"] = recording.format.name
    version = fields.get("core:version")
    if not (isinstance(version, str) and re.match(r"\d+\.\d+\.\d", version)):
        fields["core:version"] = SIGMF_VERSION
    if recording.sample_rate:
        fields["core:sample_rate"] = recording.sample_rate
    for key in ("core:dataset", "core:trailing_bytes", "core:metadata_only"):
        fields.pop(key, None)
    if place.dataset:
        fields["core:dataset"] = place.dataset
    if place.trailing_bytes:
        fields["core:trailing_bytes"] = place.trailing_bytes
    if recording.source.start:
        # The hash of the file within an archive is not that of the archive.
        fields.pop("core:sha512", None)
    extensions = [item for item in _list(fields.get("core:extensions")) if item.get("name") != _EXTENSION["name"]]
    fields["core:extensions"] = [*extensions, _EXTENSION]
    return fields


def _list(value: object) -> Sequence[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _captures(recording: Recording, place: Place) -> list[dict]:
    captures = [dict(item) for item in (recording.metadata or {}).get("captures", [])]
    segments = {segment.sample_start: segment for segment in recording.segments}
    first = recording.segments[0].sample_start
    if not captures or captures[0]["core:sample_start"] > first:
        captures.insert(0, {"core:sample_start": first})
    if place.header_bytes:
        captures[0]["core:header_bytes"] = captures[0].get("core:header_bytes", 0) + place.header_bytes
    for capture in captures:
        capture["core:sample_start"] = int(capture["core:sample_start"])
        segment = segments.get(capture["core:sample_start"])
        if segment:
            complete_capture(capture, segment)
    return captures


def complete_capture(capture: dict, segment: Segment) -> dict:
    """The capture, with the frequency and time of the segment that begins with it where these are known."""
    if segment.frequency is not None:
        capture["core:frequency"] = segment.frequency
    if segment.time is not None and not str(capture.get("core:datetime", "")).endswith("Z"):
        capture["core:datetime"] = iso_time(segment.time)
    return capture
