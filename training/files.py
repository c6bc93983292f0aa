# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import TrainingError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name of its own to write to, which becomes ``path`` at the end; raises TrainingError where that cannot be."""
    if not path.name or path.is_dir():
        raise TrainingError(f"{path} is a folder; give the path of a file.")
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of h5py and of torch
        raise TrainingError(f"{path} cannot be written: {error}; make room or give another path.") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there; raises TrainingError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"the folder {path} cannot be made: {error.strerror}; give another one.") from None
