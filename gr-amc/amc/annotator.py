# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio block that writes the classifier's labels as SigMF annotations while a recording is made."""

import os
import threading
import time
from pathlib import Path

import pmt
from gnuradio import gr

from .annotate import GENERATOR, Place, link_dataset
from .block import LABELS
from .errors import AmcError, first_line
from .files import discard_unfinished, sentences
from .limits import checked_frequency, checked_rate
from .live_annotations import LiveAnnotations, head_of_file
from .reading import file_size, reading
from .recordings import Recording, Source
from .report import from_pmt
from .sample_formats import SampleFormat, parse_format
from .sigmf_recordings import is_plain_name
from .word_to_end import forget_words_to_end

ENDING = ".sigmf-meta"
# Every write writes the whole file, so the pauses grow with it: at most this share of the time is spent writing.
LARGEST_SHARE = 0.05
# How long the end of a flowgraph waits for a disk that does not answer.
SECONDS_FOR_LAST_WRITE = 30.0


class sigmf_annotator(gr.basic_block):
    """Writes the labels of a classifier as SigMF annotations beside a recording, while both are made.

    Input, message port ``labels``: the messages of one ``classifier``, best with ``publish`` "every". They count the
    samples of the stream that another block records, such as GNU Radio's file_sink: connect both to the same output.

    The metadata file is complete whenever it is looked at: it is written under another name first. A program that is
    killed leaves it as it was at most ``interval`` seconds before, or, if that is longer, 20 times what its last write
    took; what it left of a write under way goes at the next start. It says nothing of samples that are not in the
    dataset yet, until the flowgraph ends. Its annotations are those of ``amc_classify --output sigmf``. A capture
    begins where the frequency changes, and, with a ``sample_rate``, where times tell that samples were lost; as only
    labelled windows tell, it begins with the first of them.

    Parameters
    ----------
    file : path of the metadata, NAME.sigmf-meta; one that this block wrote before is replaced, any other is refused
    dataset : name of the file with the samples, in the same folder; "" is NAME.sigmf-data
    sample_rate : samples per second of the recording, as rx_rate tags say them; None where unknown
    frequency : Hz, for labels that say none; None where unknown
    datatype : how the samples are stored, complex: a SigMF datatype, or a name such as cs16
    description, author : for the SigMF fields of that name, unless empty
    merge : whether consecutive windows of one label are one annotation where they touch
    interval : seconds between two writes; inf writes at the beginning and the end only

    Raises AmcError for settings that cannot be. A write that fails leaves the file as it was: the reason is logged
    and kept in ``error``, the flowgraph goes on, and the next write tries again with all that was to be written;
    ``error`` is None once that succeeds.

    Whenever the flowgraph is started again or reconfigured, the classifier counts from 0 anew. If the dataset has
    grown by then, as file_sink makes it, the annotations go on at its end; otherwise the file begins anew.
    """

    def __init__(
        self,
        file: str,
        dataset: str = "",
        sample_rate: float | None = None,
        frequency: float | None = None,
        datatype: str = "cf32_le",
        description: str = "",
        author: str = "",
        merge: bool = True,
        interval: float = 1.0,
    ) -> None:
        gr.basic_block.__init__(self, name="amc_sigmf_annotator", in_sig=None, out_sig=None)
        if not interval >= 0:
            raise AmcError(f"interval is {interval}; it must be zero or more seconds.")
        path = Path(file)
        if not path.name.endswith(ENDING) or path.name == ENDING:
            raise AmcError(f"'{file}' is no name for SigMF metadata; give one that ends in {ENDING}.")
        own_dataset = path.with_suffix(".sigmf-data").name
        dataset = dataset or own_dataset
        if not is_plain_name(dataset) or dataset == path.name:
            raise AmcError(f"dataset is '{dataset}'; it must be the name of the samples' file in the folder of {path}.")
        texts = {"core:recorder": GENERATOR, "core:description": description, "core:author": author}
        self._recording = Recording(
            path,
            _complex_format(datatype),
            None if sample_rate is None else checked_rate("sample_rate", sample_rate),
            (),
            Source(path.with_name(dataset), 0, 0),
            {"global": {key: text for key, text in texts.items() if text}},
        )
        named = dataset != own_dataset
        self._place = Place(dataset if named else None, 0, 0, named)
        _check_replaceable(path, head_of_file(self._recording, self._place))
        self._annotations = LiveAnnotations(
            path, self._recording, self._place, _checked_frequency(frequency), bool(merge)
        )
        self.interval = interval
        self.error: AmcError | None = None
        self._ignored = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._port = pmt.intern(LABELS)
        self.message_port_register_in(self._port)
        self.set_msg_handler(self._port, self._take)

    def set_frequency(self, frequency: float | None) -> None:
        """From the next label on that says none."""
        self._annotations.set_frequency(_checked_frequency(frequency))

    # --- scheduler's thread -----------------------------------------------------------------------

    def start(self) -> bool:
        try:
            self._start()
        except Exception as error:  # one that leaves start() would leave the flowgraph hanging
            self._fail(error)
        return True

    def stop(self) -> bool:
        self._take_waiting()
        if self._ignored > 1:
            self.logger.warn(f"{self._ignored} messages were ignored")
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(SECONDS_FOR_LAST_WRITE)
            if self._thread.is_alive():
                self._fail(self._unanswered())
            else:
                self._thread = None
        return True

    def _start(self) -> None:
        forget_words_to_end(self)
        if self._thread is not None and self._thread.is_alive():
            raise self._unanswered()
        self._take_waiting()  # of the run before
        self._ignored = 0
        self.error = None
        final = Path(os.path.realpath(self._annotations.path))
        with sentences(str(self._annotations.path)):
            discard_unfinished(final.parent, {final.name})
        if self._place.link:
            link_dataset(self._recording, self._annotations.path)
        self._annotations.begin()
        self._stopping = threading.Event()
        thread = threading.Thread(target=self._write, args=[self._stopping], name="amc annotations", daemon=True)
        thread.start()
        self._thread = thread

    def _take_waiting(self) -> None:
        """Labels that came when GNU Radio had interrupted this block already."""
        block = self.to_basic_block()
        while block.nmsgs(self._port):
            self._take(block.delete_head_nowait(self._port))

    def _take(self, message) -> None:
        try:
            self._annotations.add(from_pmt(message))
        except Exception as error:  # whatever else is sent here must not end the block
            self._ignored += 1
            if self._ignored == 1:
                known = isinstance(error, AmcError)
                reason = str(error) if known else f"{type(error).__name__}: {first_line(error)}"
                self.logger.warn(f"a message is ignored, and so are others like it: {reason}")

    # --- writing thread ---------------------------------------------------------------------------

    def _write(self, stopping: threading.Event) -> None:
        final = False
        while not final:
            final = stopping.is_set()
            began = time.monotonic()
            try:
                self._annotations.write(final)
                self.error = None
            except Exception as error:
                self._fail(error)
            ended = time.monotonic()
            due = ended + max(self.interval, (ended - began) * (1 / LARGEST_SHARE - 1))
            while not final and not stopping.wait(max(0.0, min(due - time.monotonic(), 1.0))):
                if time.monotonic() >= due or self._annotations.crowded:
                    break

    # --- either -----------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, AmcError):
            error = AmcError(f"annotations cannot be written: {type(error).__name__}: {first_line(error)}")
        # Said once, however often it is tried.
        if str(error) != str(self.error):
            self.logger.error(str(error))
        self.error = error

    def _unanswered(self) -> AmcError:
        return AmcError(f"{self._annotations.path} cannot be written: its disk does not answer; look after the disk.")


def _checked_frequency(frequency: float | None) -> float | None:
    return None if frequency is None else checked_frequency("frequency", frequency)


def _complex_format(datatype: str) -> SampleFormat:
    sample_format = parse_format(datatype)
    if not sample_format.complex:
        raise AmcError(f"datatype is '{datatype}'; the samples that are classified are complex, such as cf32_le.")
    return sample_format


def _check_replaceable(path: Path, head: bytes) -> None:
    """Raises AmcError unless there is a folder for ``path``, and no file that something else than this block wrote."""
    if not os.path.isdir(path.parent):
        raise AmcError(f"there is no folder {path.parent} for {path.name}; make it or give another path.")
    with sentences(str(path)):
        if not path.exists():
            return
    file_size(path)
    mark = head[: head.index(b"\n", head.index(b"core:recorder"))]
    with reading(path), open(path, "rb") as file:
        if file.read(len(mark)) != mark:
            raise AmcError(f"{path} is metadata of another program, which is never overwritten; give another name.")
