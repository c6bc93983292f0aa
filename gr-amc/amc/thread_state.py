# SPDX-License-Identifier: GPL-3.0-or-later
"""Python's state of one of GNU Radio's threads."""

import ctypes


class KeptThreadState:
    """Keeps that state from one call of a block to the next.

    A thread that Python did not begin is given a state at every call from C++, and loses it afterwards: memory mapped
    and unmapped each time, a quarter of what a short ``work`` takes. GNU Radio calls a block's ``start``, ``work`` and
    ``stop`` in the same thread: ``keep`` belongs into its ``start``, ``release`` into its ``stop``.
    """

    def __init__(self) -> None:
        self._kept: int | None = None

    def keep(self) -> None:
        self._kept = ctypes.pythonapi.PyGILState_Ensure()

    def release(self) -> None:
        if self._kept is not None:
            ctypes.pythonapi.PyGILState_Release(self._kept)
            self._kept = None
