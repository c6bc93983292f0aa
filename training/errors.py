# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that users meet."""


class TrainingError(Exception):
    """A mistake the user can mend; the message is one sentence that says how."""
