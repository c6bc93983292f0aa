# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads files, and turns what goes wrong with that into a sentence."""

import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO

from .errors import AmcError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a file is opened or read into a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise AmcError(f"there is no file {path}; check the name.") from None
    except IsADirectoryError:
        raise AmcError(f"{path} is a folder; name a recording in it, or give --output-dir for all.") from None
    except PermissionError:
        raise AmcError(f"{path} may not be read by this user; change its permissions.") from None
    except OSError as error:
        raise AmcError(f"{path} cannot be read: {error.strerror or error}; check the file and its disk.") from None
    except (tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        raise AmcError(f"the SigMF archive {path} is truncated or damaged ({error}); fetch it again.") from None


def read_exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    """The next ``size`` bytes of an open file; raises AmcError, which names ``path``, when it has fewer."""
    parts = []
    left = size
    while left:
        part = file.read(left)
        if not part:
            raise AmcError(f"{path} ended {left} bytes too early; it became shorter while it was read, so try again.")
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def file_size(path: Path) -> int:
    """Bytes of a file that can be read; raises AmcError for anything else."""
    with reading(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(status.st_mode):
            raise AmcError(f"{path} is a pipe or a device; record it to a file first.")
        with open(path, "rb"):  # a file that may not be read is found here, before any work
            return status.st_size
