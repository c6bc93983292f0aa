# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files whole or not at all."""

import os
import secrets
from collections.abc import Iterator
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
    final = Path(os.path.realpath(path))
    if final.exists() and not final.is_file() and not final.is_dir():
        with sentences(path), open(final, mode, **_text(mode)) as file:
            yield file
        return
    temporary = final.with_name(f".{final.name[:100]}.{secrets.token_hex(4)}.tmp")
    with sentences(path):
        if final.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        try:
            # Opened within, so that an interrupt right behind it leaves nothing either.
            with open(temporary, mode.replace("w", "x"), **_text(mode)) as file:
                yield file
            os.replace(temporary, final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _text(mode: str) -> dict:
    return {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
