# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that users meet, and how foreign ones are put into it."""


class AmcError(Exception):
    """Something the user can mend; the message is one sentence: what is wrong, where, what to do."""


def first_line(error: BaseException) -> str:
    """What a foreign exception says, fit to stand in a sentence."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
