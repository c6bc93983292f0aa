# SPDX-License-Identifier: GPL-3.0-or-later
"""Many recordings, each with a result file of its own: which, where, whether it is there already, and who makes it.

A result takes its name when it is whole. Then its folder's ``.amc_classify.jsonl`` gets a line that says what it is the
result of: the recording, size and time of every file of it, a hash of the settings, and size and time of the result
itself. A later run passes over a result for which all of that still holds; anything else is done again.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .errors import AmcError, first_line
from .files import check_apart, discard_unfinished, sentences
from .readers import is_recording_name, usable_path
from .reading import reading
from .sigmf_recordings import named_dataset

RECORDS = ".amc_classify.jsonl"
# What an empty line raises, or what a killed run, or an editor, left of one.
_NO_RECORD = (ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Job:
    """A recording, and the file that its result goes to."""

    recording: Path
    result: Path

    def absolute(self) -> "Job":
        return Job(self.recording.absolute(), self.result.absolute())


@dataclass(frozen=True)
class Outcome:
    """What is said of a job that ended, and the line that records it, None where it failed."""

    said: str
    record: dict | None = None


Work = Callable[[Path, Path], tuple[str, dict]]
"""Makes the result of a recording, at that path; returns what is said of it and the ``stamps`` of its files."""


# --- which recordings, and where their results go --------------------------------------------------


def plan(
    paths: Iterable[str], place: Callable[[Path, Path], Path], sample_format: str | None = None
) -> tuple[list[Job], list[str]]:
    """The jobs for files and for all recordings in folders, and a sentence for each folder that could not be read.

    ``place`` is given a recording and the folder for its result below that for all results: a folder keeps its tree,
    under its own name, as when it is copied. Raises AmcError where nothing is found, or results would not lie apart.
    """
    jobs, unreadable = [], []
    for path in map(usable_path, paths):
        if not os.path.isdir(path):
            jobs.append(Job(path, place(path, Path())))
            continue
        name = Path(os.path.basename(os.path.abspath(path)))
        for found in _recordings_in(path, sample_format, unreadable):
            jobs.append(Job(found, place(found, name / found.parent.relative_to(path))))
    if not jobs and not unreadable:
        raise AmcError(
            f"there is no recording in {', '.join(paths)}; name files, or give --format for those ending in .raw, .bin "
            "or .dat."
        )
    results: dict[str, Job] = {}
    for job in jobs:
        other = results.setdefault(os.path.realpath(job.result), job)
        if os.path.abspath(other.recording) != os.path.abspath(job.recording):
            raise AmcError(
                f"{other.recording} and {job.recording} would both have the result {job.result}; rename one of them, "
                "or name their folders in place of the files."
            )
    chosen = list(results.values())  # what was named twice is done once
    check_apart([str(job.result) for job in chosen], [job.recording for job in chosen])
    return chosen, unreadable


def _recordings_in(folder: Path, sample_format: str | None, unreadable: list[str]) -> Iterator[Path]:
    """The recordings in a folder and those below it, sorted, without what is hidden."""

    def fail(error: OSError) -> None:
        unreadable.append(f"the folder {error.filename} cannot be read: {error.strerror}; change its permissions.")

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        present = {name for name in names if not name.startswith(".") and is_recording_name(name, sample_format)}
        yield from (Path(parent, name) for name in _without_datasets(Path(parent), present))


def _without_datasets(folder: Path, names: set[str]) -> list[str]:
    """The recordings in a folder, sorted, without samples that are read through their SigMF metadata."""
    metas = {name for name in names if name.endswith(".sigmf-meta")}
    samples = {Path(name).with_suffix(".sigmf-data").name for name in metas}
    others = names - metas - samples
    if others:  # otherwise no metadata need be read
        others -= {named_dataset(folder / name) for name in metas}
    return sorted(metas | others)


# --- what is there already -------------------------------------------------------------------------


def stamps(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Size in bytes and time of the last change in ns of each file that exists, by its name."""
    found = {}
    for path in paths:
        with reading(path), suppress(FileNotFoundError):
            found[path.name] = _stamp(path)
    return found


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


class Records:
    """What the folders of results say of them."""

    def __init__(self, settings: str) -> None:
        self._settings = settings
        self._known: dict[Path, dict[str, dict]] = {}

    def hold(self, job: Job) -> bool:
        """Whether the result of the job is there, made with these settings from the recording as it is now."""
        folder = job.result.parent
        if folder not in self._known:
            self._known[folder] = _read_records(folder / RECORDS)
        record = self._known[folder].get(job.result.name)
        if record is None:
            return False
        try:
            return (
                record["settings"] == self._settings
                and record["recording"] == os.path.abspath(job.recording)
                and record["written"] == _stamp(job.result)
                and all(stamp == _stamp(job.recording.with_name(name)) for name, stamp in record["files"].items())
            )
        except (OSError, *_NO_RECORD):
            return False

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Makes the folders of the results; raises AmcError, before any work, where one cannot be written to."""
        names: dict[Path, set[str]] = {}
        for job in jobs:
            names.setdefault(job.result.parent, set()).add(job.result.name)
        for folder, expected in names.items():
            with sentences(str(folder)):
                folder.mkdir(parents=True, exist_ok=True)
                open(folder / RECORDS, "ab").close()
                discard_unfinished(folder, expected)

    def add(self, job: Job, record: dict) -> None:
        """Records a result, which is whole."""
        line = {"result": job.result.name, "settings": self._settings, **record}
        path = job.result.parent / RECORDS
        with sentences(str(path)), open(path, "ab") as file:
            # Begun on a line of its own, whatever a killed run left of its last one.
            file.write(f"\n{json.dumps(line)}\n".encode())


def _read_records(path: Path) -> dict[str, dict]:
    known = {}
    with suppress(OSError), open(path, "rb") as file:
        for line in file:
            with suppress(*_NO_RECORD):
                record = json.loads(line)
                known[record["result"]] = record
    return known


# --- who makes them --------------------------------------------------------------------------------


def run(
    jobs: Sequence[Job],
    work: Work,
    settings: str,
    tell: Callable[[str], None],
    *,
    processes: int = 1,
    dask: str | None = None,
) -> int:
    """Does the jobs whose results are not there yet and tells of each; returns how many failed."""
    records = Records(settings)
    left = [job for job in jobs if not records.hold(job)]
    done = len(jobs) - len(left)
    tell(f"{len(jobs)} recording{'s' * (len(jobs) != 1)}{f', of which {done} done before' if done else ''}")
    records.prepare(left)
    if dask is not None:
        outcomes = _on_dask(work, left, dask)
    elif processes > 1:
        outcomes = _in_processes(work, left, processes)
    else:
        outcomes = ((job, _attempt(work, job)) for job in left)
    failed = 0
    # Closed at once where this ends early, so that no process goes on.
    with closing(outcomes):
        for number, (job, outcome) in enumerate(outcomes, 1):
            if outcome.record is None:
                failed += 1
            else:
                records.add(job, outcome.record)
            tell(f"[{number}/{len(left)}] {outcome.said}")
    return failed


def _attempt(work: Work, job: Job) -> Outcome:
    try:
        said, files = work(job.recording, job.result)
        with sentences(str(job.result)):
            written = _stamp(job.result)
    except AmcError as error:
        return _failure(job, str(error))
    except MemoryError:
        return _failure(job, "there is not enough memory; choose a smaller model or window, or fewer --jobs.")
    return Outcome(said, {"recording": os.path.abspath(job.recording), "files": files, "written": written})


def _failure(job: Job, sentence: str) -> Outcome:
    return Outcome(sentence if str(job.recording) in sentence else f"{job.recording}: {sentence}")


def _in_processes(work: Work, jobs: Sequence[Job], count: int) -> Iterator[tuple[Job, Outcome]]:
    """Processes of their own, as the engine's threads do not outlive a fork; each does one job after the other."""
    context = multiprocessing.get_context("spawn")
    waiting = iter(jobs)
    busy: dict[Connection, Job] = {}
    processes = []

    def begin(job: Job, connection: Connection | None = None) -> None:
        if connection is None:
            connection, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            with _interrupts_blocked():
                process.start()
            theirs.close()
            processes.append(process)
        busy[connection] = job
        with suppress(OSError):  # it has ended, which is found below
            connection.send(job)

    try:
        for job in islice(waiting, count):
            begin(job)
        while busy:
            for connection in wait(list(busy)):
                job, alive = busy.pop(connection), connection
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    connection.close()
                    alive = None
                    outcome = _failure(
                        job, "its process ended early, perhaps for want of memory; run it again, with fewer --jobs."
                    )
                for following in islice(waiting, 1):
                    begin(following, alive)
                yield job, outcome
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _end(process)


def _end(process: multiprocessing.Process) -> None:
    """Asks a process to end until it does: an extension module that is being loaded can swallow the exception."""
    for _ in range(10):
        process.join(1)
        if not process.is_alive():
            return
        process.terminate()
    process.kill()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """For a process that begins within, Ctrl-C and the end of the terminal are this one's affair from the first on."""
    resource_tracker.ensure_running()  # which unblocks the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Work) -> None:
    """Does the jobs that come until it is told to end, or its parent has ended."""
    # An exception that comes while this is being loaded would abort the process. Until then a signal ends it at once:
    # nothing is written yet.
    with suppress(ImportError):
        import onnx  # noqa: F401
    # An exception, so that a result that is half written is taken away.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        while True:  # see _end
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        with suppress(EOFError, ConnectionError):
            while True:
                connection.send(_attempt(work, connection.recv()))
    finally:
        # Asked again while it ends, on a busy machine, the interpreter would say so in a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _on_dask(work: Work, jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, Outcome]]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise AmcError("--dask needs the Python package distributed; install it: pip install distributed.") from None
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise AmcError(
            f"the Dask scheduler {address} cannot be reached: {first_line(error)}; check the address and the network."
        ) from None
    with client:
        futures = dict(zip(client.map(partial(_attempt, work), jobs, pure=False), jobs, strict=True))
        for future in as_completed(futures):
            job = futures[future]
            if future.status == "finished":
                yield job, future.result()
            else:
                reason = first_line(future.exception()) if future.status == "error" else future.status
                yield job, _failure(job, f"the cluster did not do it: {reason}; look at its workers.")
