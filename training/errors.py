# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that users meet."""


class TrainingError(Exception):
    """A mistake the user can mend; the message is one sentence that says how."""


def first_line(error: Exception) -> str:
    """What a library's error says first; the rest may be a trace or advice to its developers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
