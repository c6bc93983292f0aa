# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line ``amc_classify``: replays recordings through the same pieces as the GNU Radio block.

One recording, or several after another, as told; or, with folders, --output-dir, --jobs or --dask, an ``archive``.

Standard output carries data and nothing else; everything said to people goes to standard error. Exit code 0: done;
1: something the user can mend, said in one sentence; 2: wrong usage; 130: interrupted, 143 and 129 by another program
or with its terminal; 141: nobody reads the output.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from . import archive
from .annotate import ANNOTATIONS, annotation_path, write_annotations
from .decide import LARGEST_AVERAGE
from .errors import AmcError
from .files import check_apart, replacing, sentences
from .limits import LARGEST_HERTZ, LOWEST_RATE
from .model import (
    DEFAULT_MODEL,
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    RECEIVER_MODEL,
    Model,
    load_model,
)
from .normalise import KINDS
from .pipeline import DEFAULT_SQUELCH_DBFS, DEFAULT_THRESHOLD
from .plot import Picture
from .readers import open_recording
from .recordings import Recording, Segment
from .replay import Replay
from .report import Result, iso_time, to_json
from .runtime import RUNTIMES
from .sample_formats import FORMATS, parse_format
from .signals import DEFAULT_SIGNALS, SignalReplay, Wanted
from .windows import LONGEST_HOP, LONGEST_WINDOW

PROGRAM = "amc_classify"
VERSION = "0.1.0"

# --- arguments ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        # What begins so is a value and no option, -50k as well: the rule of Python 3.14, where older ones know only
        # digits and a point.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help lists the options.\n")


def _count(largest: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = 0
        if not 1 <= value <= largest:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {largest}")
        return value

    return convert


def _number(lowest: float, highest: float, what: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            scale = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
            value = float(text[:-1] if scale != 1 else text) * scale
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not {what}")
        return value

    return convert


def _format(text: str) -> str:
    name = text.strip().lower()
    if name not in ("wav", "sigmf"):
        try:
            parse_format(name)
        except AmcError as error:
            raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
    return name


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a list of names such as BPSK,QPSK,8PSK")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Say which modulation recordings carry, window by window.",
        epilog="Example: amc_classify recording_2.4Msps.cu8 --average 8 --plot recording.png",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="SigMF (.sigmf-meta, .sigmf), .cf32 .cs16 .cs8 .cu8, .wav; or a folder of them",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    source = parser.add_argument_group("the recording, where its metadata or name does not tell")
    source.add_argument("--format", type=_format, metavar="F", help=FORMATS)
    source.add_argument(
        "--sample-rate",
        type=_number(LOWEST_RATE, LARGEST_HERTZ, "a sample rate such as 48000 or 2.4M"),
        metavar="R",
        help="samples per second; without it there are no times",
    )
    source.add_argument(
        "--frequency",
        type=_number(-LARGEST_HERTZ, LARGEST_HERTZ, "a frequency such as 433.92M"),
        metavar="F",
        help="tuned to, in Hz",
    )
    how = parser.add_argument_group("classification")
    how.add_argument(
        "--model",
        default="",
        metavar="M",
        help=f"a released model or an .onnx file ({DEFAULT_MODEL}; with --condition {RECEIVER_MODEL})",
    )
    how.add_argument("--hop", type=_count(LONGEST_HOP), metavar="H", help="samples from window to window (a window)")
    how.add_argument(
        "--average", type=_count(LARGEST_AVERAGE), default=1, metavar="K", help="average over K windows (1)"
    )
    how.add_argument(
        "--squelch",
        type=_number(-1000, 1000, "a level in dBFS from -1000 to 1000"),
        default=DEFAULT_SQUELCH_DBFS,
        metavar="DB",
        help=f"ignore windows below this power in dBFS ({DEFAULT_SQUELCH_DBFS:g})",
    )
    how.add_argument(
        "--threshold",
        type=_number(0, 1, "a probability from 0 to 1"),
        default=DEFAULT_THRESHOLD,
        metavar="P",
        help=f"below this confidence the label is unknown, 0: never ({DEFAULT_THRESHOLD:g})",
    )
    how.add_argument("--runtime", choices=RUNTIMES, default="auto", help="what runs the model (auto)")
    how.add_argument("--threads", type=_count(1024), default=1, metavar="N", help="threads of one inference (1)")
    foreign = parser.add_argument_group("a model without amc metadata")
    foreign.add_argument(
        "--classes", type=_names, default=(), metavar="A,B,C", help="what its outputs mean, in their order"
    )
    foreign.add_argument(
        "--window", type=_count(LONGEST_WINDOW), default=0, metavar="N", help="samples it takes, if it takes any number"
    )
    foreign.add_argument("--normalise", choices=KINDS, default="", help="how samples are scaled for it (none)")
    foreign.add_argument(
        "--temperature",
        type=_number(
            LOWEST_TEMPERATURE,
            HIGHEST_TEMPERATURE,
            f"a temperature from {LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}",
        ),
        default=0.0,
        metavar="T",
        help="divides its outputs before they become probabilities (1)",
    )
    search = parser.add_argument_group(
        "signals in a wide capture",
        "Each is found, shifted, filtered and resampled for the model. What is given wins over what is found.",
    )
    search.add_argument("--condition", action="store_true", help="find them; the options below imply it")
    search.add_argument(
        "--centre",
        type=_number(-LARGEST_HERTZ, LARGEST_HERTZ, "a frequency such as 433.92M"),
        metavar="F",
        help="of the one signal wanted, in Hz, as the results have it: counted from 0 where the tuning is not known",
    )
    search.add_argument(
        "--bandwidth",
        type=_number(LOWEST_RATE, LARGEST_HERTZ, "a bandwidth such as 12.5k"),
        metavar="B",
        help="that a signal occupies, in Hz; with --centre nothing is searched",
    )
    search.add_argument(
        "--symbol-rate",
        type=_number(LOWEST_RATE, LARGEST_HERTZ, "a symbol rate such as 9600"),
        metavar="R",
        help="symbols per second",
    )
    search.add_argument(
        "--signals", type=_count(64), metavar="N", help=f"follow at most the N strongest ({DEFAULT_SIGNALS})"
    )
    search.add_argument(
        "--samples-per-symbol",
        default="",
        metavar="N",
        help="what the model was trained for, such as 8 or 2..16, where its metadata does not tell (8)",
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "--output", choices=(*_ROWS, "sigmf"), default="table", help="what to print, or sigmf annotations (table)"
    )
    out.add_argument(
        "--out",
        metavar="PATH",
        help="write there, - for standard output (sigmf: NAME.amc.sigmf-meta beside the samples)",
    )
    out.add_argument("--plot", metavar="PNG", help="also draw spectrogram and labels of one recording")
    many = parser.add_argument_group(
        "many recordings",
        "Each has a result file of its own, and one that fails does not stop the others. A run that was ended goes on "
        "where it was: results that are there for the same settings and unchanged recordings are passed over.",
    )
    many.add_argument(
        "--output-dir",
        metavar="DIR",
        help="a result for each recording there, folders with their tree (without it, sigmf goes beside the samples)",
    )
    where = many.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=_count(1024), metavar="N", help="in N processes on this computer (1)")
    where.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="on the Dask cluster with this scheduler, such as tcp://10.0.0.1:8786; its workers need the same gr-amc "
        "and must reach model, recordings and results by the same absolute paths",
    )
    return parser


def _check_together(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    several = len(arguments.files) > 1
    known = (arguments.centre, arguments.bandwidth, arguments.symbol_rate, arguments.signals)
    arguments.condition = arguments.condition or any(value is not None for value in known)
    if arguments.condition:
        arguments.model = arguments.model or RECEIVER_MODEL
    if arguments.centre is not None and arguments.signals is not None:
        parser.error("--centre means one signal; leave --signals away")
    if arguments.samples_per_symbol and not arguments.condition:
        parser.error("--samples-per-symbol is what signals are resampled to; give --condition too")
    if _is_archive(arguments):
        if arguments.out or arguments.plot:
            parser.error("--out and --plot are for single recordings; leave them away, results go to --output-dir")
        if arguments.output_dir is None and arguments.output != "sigmf":
            parser.error("--jobs and --dask need --output-dir, or --output sigmf, which goes beside the recordings")
    if several and arguments.plot:
        parser.error("--plot draws one recording; name one FILE")
    if several and arguments.output == "sigmf" and arguments.out:
        parser.error("--out with --output sigmf takes one recording; leave --out away or name one FILE")
    if arguments.out == "" or arguments.plot in ("", "-"):
        parser.error("--out and --plot need the path of a file")
    if arguments.output_dir == "":
        parser.error("--output-dir needs the path of a folder")
    if arguments.output == "sigmf" and arguments.out not in (None, "-") and not arguments.out.endswith(".sigmf-meta"):
        parser.error("--out with --output sigmf must end in .sigmf-meta")


def _is_archive(arguments: argparse.Namespace) -> bool:
    """Whether each recording gets a file of its own, by the module ``archive``."""
    if arguments.output_dir is not None or arguments.jobs is not None or arguments.dask is not None:
        return True
    return arguments.output == "sigmf" and any(map(os.path.isdir, arguments.files))


# --- writing --------------------------------------------------------------------------------------

Add = Callable[[Result, Segment], object]


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    with sentences("standard output"):
        yield sys.stdout
        sys.stdout.flush()


def _discard_unwritten() -> None:
    """Writes what is held for standard output, or drops it, so that it does not fail again when the program ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(path: str | Path) -> str:
    """A path fit to be shown, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Rows:
    """What rows are about: a recording, perhaps one of ``several`` or their ``first``, perhaps ``conditioned``."""

    recording: Recording
    model: Model
    several: bool
    first: bool
    conditioned: bool


def _table(file: TextIO, rows: _Rows) -> Add:
    """Rows for people: first sample, its time in seconds, label, confidence, power in dBFS, and a signal's band."""
    recording, model = rows.recording, rows.model
    rate = recording.sample_rate
    width = max(7, *(len(label) for label in model.classes))
    has_bands = rows.conditioned and rate
    if rows.several:
        file.write(f"# {_shown(recording.path)}\n")
    seconds = f"  {'seconds':>12}" if rate else ""
    bands = "    frequency/Hz  bandwidth/Hz" if has_bands else ""
    file.write(f"{'sample':>12}{seconds}  {'label':<{width}}  confidence  power/dBFS{bands}\n")

    def add(result: Result, segment: Segment) -> None:
        seconds = f"  {result.sample_start / rate:12.6f}" if rate else ""
        band = f"  {result.frequency:14.0f}  {result.bandwidth:12.0f}" if has_bands else ""
        file.write(
            f"{result.sample_start:12d}{seconds}  {result.label:<{width}}  {result.confidence:10.3f}"
            f"  {result.power_dbfs:10.1f}{band}\n"
        )

    return add


def _json(file: TextIO, rows: _Rows) -> Add:
    """One object a line and window."""
    head = {"file": _shown(rows.recording.path)} if rows.several else {}
    return lambda result, segment: file.write(json.dumps(head | to_json(result, rows.model.classes)) + "\n")


def _csv(file: TextIO, rows: _Rows) -> Add:
    """One row a window under one line of names; what is not known is empty."""
    writer = csv.writer(file, lineterminator="\n")
    head = [_shown(rows.recording.path)] if rows.several else []
    if rows.first:
        bands = ["bandwidth", "frequency_lower_edge", "frequency_upper_edge"] if rows.conditioned else []
        names = ["sample_start", "sample_count", "time", "frequency", *bands, "label", "confidence", "power_dbfs"]
        probabilities = [f"probability {label}" for label in rows.model.classes]
        writer.writerow([*(["file"] if rows.several else []), *names, *probabilities])

    def add(result: Result, segment: Segment) -> None:
        moment = "" if result.time is None else iso_time(result.time)
        frequency = "" if result.frequency is None else repr(result.frequency)
        band = map(repr, (result.bandwidth, *result.edges)) if result.edges else [""] * 3 * rows.conditioned
        known = [result.sample_start, result.sample_count, moment, frequency, *band, result.label]
        numbers = [f"{result.confidence:.6f}", f"{result.power_dbfs:.3f}", *(f"{p:.6f}" for p in result.probabilities)]
        writer.writerow([*head, *known, *numbers])

    return add


_ROWS = {"table": _table, "json": _json, "csv": _csv}


@contextmanager
def _annotations(out: str | None, recording: Recording) -> Iterator[Add]:
    """A metadata file with annotations; its path is what is printed."""
    if out == "-":
        with _standard_output() as file, write_annotations(recording, file) as add:
            yield add
        return
    path = Path(out) if out else annotation_path(recording.path)
    with write_annotations(recording, path) as add:
        yield add
    with _standard_output() as file:
        file.write(f"{_shown(path)}\n")


# --- progress -------------------------------------------------------------------------------------


class _Progress:
    """One line on a terminal, renewed a few times a second once a recording takes long; otherwise silent."""

    def __init__(self, recording: Recording, shown: bool) -> None:
        self._name, self._total = _shown(recording.path.name), recording.sample_count
        self._shown = shown
        self._began = self._said = time.monotonic()
        self._done = 0
        self._width = 0

    def advance(self, samples: int) -> None:
        self._done += samples
        now = time.monotonic()
        if self._shown and now - self._began > 1 and now - self._said > 0.2:
            self._said = now
            speed = self._done / (now - self._began)
            left = (self._total - self._done) / speed
            filled = 30 * self._done // self._total
            bar = "#" * filled + "." * (30 - filled)
            self._say(
                f"{self._name[-40:]} [{bar}] {self._done / self._total:4.0%} {speed / 1e6:.2f} Msps, {left:.0f} s left"
            )

    def end(self) -> float:
        """Takes the line away; returns the seconds since the beginning."""
        if self._width:
            self._say("")
            _tell("\r", end="")
        return time.monotonic() - self._began

    def _say(self, text: str) -> None:
        _tell(f"\r{text:<{self._width}}", end="")
        self._width = len(text)


def _tell(text: str, end: str = "\n") -> None:
    """Says something to people; that nobody can hear it must not end the work."""
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _introduce(recording: Recording) -> None:
    known = [recording.format.name]
    if recording.sample_rate:
        known.append(f"{recording.sample_rate:.12g} samples/s")
    known.append(f"{recording.sample_count} samples")
    if len(recording.segments) > 1:
        known.append(f"{len(recording.segments)} captures")
    guessed = " and ".join(part.replace("_", " ") for part in recording.inferred)
    _tell(f"{_shown(recording.path)}: {', '.join(known)}{f' ({guessed} from its name)' if guessed else ''}")


def _conclusion(recording: Recording, labels: Counter, replay: Replay | SignalReplay, seconds: float) -> str:
    count, ignored = replay.counters.windows, replay.counters.ignored
    reason = f" ({replay.why_ignored})" if ignored else ""
    speed = recording.sample_count / max(seconds, 1e-9) / 1e6
    said = (
        f"{_shown(recording.path)}: {count} window{'s' * (count != 1)}, {ignored} ignored{reason}{replay.remark}, "
        f"{seconds:.1f} s, {speed:.2f} Msps"
    )
    if labels:
        said += "\n  " + ", ".join(f"{label} {100 * number / count:.1f} %" for label, number in labels.most_common())
    return said


# --- the program ----------------------------------------------------------------------------------


def _wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(arguments.centre, arguments.bandwidth, arguments.symbol_rate, arguments.signals or DEFAULT_SIGNALS)


def _replay(recording: Recording, model: Model, arguments: argparse.Namespace) -> Replay | SignalReplay:
    settings = {name: getattr(arguments, name) for name in ("hop", "average", "threshold", "squelch")}
    if arguments.condition:
        return SignalReplay(recording, model, _wanted(arguments), **settings)
    return Replay(recording, model, **settings)


def _classify(
    recording: Recording, model: Model, arguments: argparse.Namespace, add: Add, picture: Picture | None, shown: bool
) -> str:
    """Replays one recording: every window goes to ``add``, samples and windows to ``picture``; returns a summary."""
    replay = _replay(recording, model, arguments)
    labels: Counter = Counter()
    progress = _Progress(recording, shown)

    def take(results: Iterator[Result], segment: Segment) -> None:
        for result in results:
            add(result, segment)
            labels[result.label] += 1
            if picture:
                picture.add_result(result)

    try:
        for segment in recording.segments:
            replay.begin(segment)
            for samples in recording.blocks(segment):
                if picture:
                    picture.add_samples(samples, segment)
                take(replay.push(samples), segment)
                progress.advance(len(samples))
            take(replay.finish(), segment)
    finally:
        seconds = progress.end()
    return _conclusion(recording, labels, replay, seconds)


def _check_outputs(arguments: argparse.Namespace, recordings: list[Recording]) -> None:
    outputs = [path for path in (arguments.out, arguments.plot) if path not in (None, "-")]
    if arguments.output == "sigmf" and arguments.out is None:
        outputs += [str(annotation_path(recording.path)) for recording in recordings]
    check_apart(outputs, [path for recording in recordings for path in (recording.path, recording.source.path)])


def _check_recordings(recordings: list[Recording], model: Model, arguments: argparse.Namespace) -> None:
    """Every recording must have a window somewhere, or what is wanted."""
    for recording in recordings:
        if arguments.condition:
            _wanted(arguments).check(recording)
            continue
        longest = max(segment.sample_count for segment in recording.segments)
        if longest < model.window:
            raise AmcError(
                f"{recording.path} has at most {longest} samples without a gap, and the model {model.path.stem} needs "
                f"{model.window}; record for longer."
            )


def _open(path: str | Path, arguments: argparse.Namespace) -> Recording:
    return open_recording(
        path, sample_format=arguments.format, sample_rate=arguments.sample_rate, frequency=arguments.frequency
    )


def _load(arguments: argparse.Namespace) -> Model:
    return load_model(
        arguments.model,
        classes=arguments.classes,
        window=arguments.window,
        normalise=arguments.normalise,
        temperature=arguments.temperature,
        samples_per_symbol=arguments.samples_per_symbol,
        runtime=arguments.runtime,
        threads=arguments.threads,
    )


def _run(arguments: argparse.Namespace) -> None:
    recordings = [_open(path, arguments) for path in arguments.files]
    _check_outputs(arguments, recordings)
    model = _load(arguments)
    _check_recordings(recordings, model, arguments)
    rows = _ROWS.get(arguments.output)  # None for annotations, where each recording has its own file
    printing = rows is not None and arguments.out in (None, "-")
    # Rows that run by on the same terminal show the progress themselves.
    shown = sys.stderr.isatty() and not (printing and sys.stdout.isatty())
    with ExitStack() as stack:
        # The files are opened first, so that one that cannot be written is known before the work.
        png = stack.enter_context(replacing(arguments.plot, "wb")) if arguments.plot else None
        if rows:
            file = stack.enter_context(_standard_output() if printing else replacing(arguments.out, "w"))
        for number, recording in enumerate(recordings):
            picture = Picture(recording, model.classes, _shown(recording.path.name)) if png else None
            _introduce(recording)
            if rows:
                about = _Rows(recording, model, len(recordings) > 1, number == 0, arguments.condition)
                adding = nullcontext(rows(file, about))
            else:
                adding = _annotations(arguments.out, recording)
            with adding as add:
                _tell(_classify(recording, model, arguments, add, picture, shown))
            if picture:
                with sentences(arguments.plot):
                    picture.save(png)


# --- many recordings ------------------------------------------------------------------------------

_ENDINGS = {"table": ".txt", "json": ".jsonl", "csv": ".csv", "sigmf": ANNOTATIONS}
_NO_SETTINGS = ("files", "out", "plot", "output_dir", "jobs", "dask", "threads")
_held = threading.local()


def _settings(arguments: argparse.Namespace, model: Model) -> str:
    """A hash of all that a result depends on beside its recording: options, model and version."""
    options = {name: value for name, value in vars(arguments).items() if name not in _NO_SETTINGS}
    options["model"] = hashlib.sha256(model.path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([VERSION, options], sort_keys=True).encode()).hexdigest()


def _held_model(arguments: argparse.Namespace, settings: str) -> Model:
    """The model, loaded once by each thread that classifies: a cluster's worker may have several."""
    if getattr(_held, "settings", None) != settings:
        model = _load(arguments)
        if _settings(arguments, model) != settings:
            raise AmcError(f"the model {model.path} or gr-amc is not the one this began with; give all the same.")
        _held.model, _held.settings = model, settings
    return _held.model


def _classify_into(path: Path, result: Path, arguments: argparse.Namespace, settings: str) -> tuple[str, dict]:
    """The ``archive.Work``: the same bytes as a run for this one recording writes."""
    recording = _open(path, arguments)
    # Taken before the samples are read, so that a recording that goes on growing counts as changed.
    files = archive.stamps({path, path.with_suffix(".sigmf-meta"), recording.source.path})
    model = _held_model(arguments, settings)
    _check_recordings([recording], model, arguments)
    rows = _ROWS.get(arguments.output)
    shown = arguments.dask is None and arguments.jobs in (None, 1) and sys.stderr.isatty()
    with replacing(str(result), "w") if rows else write_annotations(recording, result) as target:
        about = _Rows(recording, model, several=False, first=True, conditioned=arguments.condition)
        add = rows(target, about) if rows else target
        return _classify(recording, model, arguments, add, None, shown), files


def _run_archive(arguments: argparse.Namespace) -> None:
    def place(path: Path, within: Path) -> Path:
        if arguments.output_dir is None:
            return annotation_path(path)
        return Path(arguments.output_dir, within, path.name + _ENDINGS[arguments.output])

    jobs, unreadable = archive.plan(arguments.files, place, arguments.format)
    model = _load(arguments)
    if arguments.dask is not None:  # a worker's current folder is another
        jobs = [job.absolute() for job in jobs]
        if model.path == Path(arguments.model):  # and not a released one, which each has in a place of its own
            arguments.model = os.path.abspath(arguments.model)
    settings = _settings(arguments, model)
    _held.model, _held.settings = model, settings
    for sentence in unreadable:
        _tell(sentence)
    work = partial(_classify_into, arguments=arguments, settings=settings)
    failed = archive.run(jobs, work, settings, _tell, processes=arguments.jobs or 1, dask=arguments.dask)
    if failed or unreadable:
        raise AmcError(
            f"{failed + len(unreadable)} of {len(jobs) + len(unreadable)} failed, as said above; mend them and give "
            "the same command, which does only what is left."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program with ``argv`` (None: the program's own arguments) and returns its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
        _check_together(parser, arguments)
    except SystemExit as stop:  # how argparse ends, after --help as well
        return stop.code or 0
    try:
        (_run_archive if _is_archive(arguments) else _run)(arguments)
    except AmcError as error:
        _discard_unwritten()
        _tell(f"{PROGRAM}: {error}")
        return 1
    except MemoryError:
        _tell(f"{PROGRAM}: there is not enough memory; choose a smaller model or window.")
        return 1
    except KeyboardInterrupt as stop:
        _discard_unwritten()
        _tell(f"{PROGRAM}: interrupted.")
        return 128 + (stop.number if isinstance(stop, _Terminated) else signal.SIGINT)
    except BrokenPipeError:
        _discard_unwritten()
        return 141
    return 0


class _Terminated(KeyboardInterrupt):
    """The program was asked to end by another (SIGTERM), or its terminal is gone (SIGHUP)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _replace_closed_streams() -> None:
    """Takes the places of standard streams that were closed, before a file that is opened gets one.

    Standard output refuses what is written to it, as if it were closed still; nobody hears standard error.
    """
    for name, flags, mode in (
        ("stdin", os.O_RDONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def program() -> None:
    """The program amc_classify: ``main``, which also cleans up when another program or its terminal ends it."""

    def terminate(number: int, frame: object) -> None:
        raise _Terminated(number)

    _replace_closed_streams()
    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which is how nohup has it
        signal.signal(signal.SIGHUP, terminate)
    sys.exit(main())
