# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension that the engine is built as."""

from types import ModuleType

from .errors import AmcError


def load_engine() -> ModuleType:
    """Raises AmcError where it was not built."""
    try:
        from . import _engine
    except ImportError as error:
        raise AmcError(f"the engine cannot be imported ({error}); build and install gr-amc with CMake.") from None
    return _engine
