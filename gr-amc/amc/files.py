# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files whole or not at all."""

import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import AmcError


@contextmanager
def sentences(path: str) -> Iterator[None]:
    """Turns a failure to write into a sentence; who reads was done before this."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AmcError(
            f"{path} cannot be written: {error.strerror or error}; make room or give another path."
        ) from None


@contextmanager
def replacing(path: str, mode: str) -> Iterator[IO]:
    """A file that takes its name only when all of it is written; a device or pipe is written to as it is."""
    with sentences(path):
        kind = _kind(path)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(0, "it is a folder")
        if not stat.S_ISREG(kind):
            # By the name given: what /dev/fd/N stands for has no path of its own where it is a pipe.
            with open(path, mode, **_text(mode)) as file:
                yield file
            return
        final = Path(os.path.realpath(path))
        temporary = final.with_name(f".{_stem(final.name)}.{secrets.token_hex(4)}.tmp")
        try:
            # Opened within, so that an interrupt right behind it leaves nothing either.
            with open(temporary, mode.replace("w", "x"), **_text(mode)) as file:
                yield file
            os.replace(temporary, final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _kind(path: str) -> int:
    """What is at a path, for the functions of ``stat``; a plain file where there is nothing yet."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _stem(name: str) -> str:
    # In bytes, in which the length of a name is limited.
    return os.fsdecode(os.fsencode(name)[:100])


def discard_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Removes what killed processes left in a folder of files of these names, which nobody may be writing now."""
    stems = {_stem(name) for name in names}
    for name in os.listdir(folder):
        match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.tmp", name, re.DOTALL)
        if match and match[1] in stems:
            (folder / name).unlink(missing_ok=True)


def check_apart(outputs: Sequence[str], recordings: Iterable[Path]) -> None:
    """Raises AmcError where an output would take the place of a recording, of its metadata, or of another output."""
    taken = {os.path.realpath(path) for name in recordings for path in (name, name.with_suffix(".sigmf-meta"))}
    real = [os.path.realpath(path) for path in outputs]
    uses = Counter(real)
    for path, final in zip(outputs, real, strict=True):
        if final in taken and os.path.isfile(path):
            raise AmcError(f"{path} is a recording or its metadata, which is never overwritten; give another path.")
        if uses[final] > 1:
            raise AmcError(f"two outputs would both be {path}; give them different paths or make them one by one.")


def _text(mode: str) -> dict:
    return {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
