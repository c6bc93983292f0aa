# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import TrainingError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to that becomes ``path`` at the end; raises TrainingError where that cannot be."""
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error}; make room or give another path.") from None
    finally:
        temporary.unlink(missing_ok=True)
