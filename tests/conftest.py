# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: a limit on every test's time, and the recordings kept beside the checkout."""

import faulthandler
import os
import sys
from pathlib import Path

import hypothesis
import pytest

HARD_TIMEOUT = 600.0
"""Seconds a test may take where no ``hard_timeout`` marker says otherwise: to catch a hang, not a slow machine."""

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

_terminal = pytest.StashKey[int]()


def pytest_configure(config):
    # Capturing is not yet on here, so this is where a stack trace can be seen after the process is gone.
    config.stash[_terminal] = os.dup(sys.__stderr__.fileno())


def pytest_unconfigure(config):
    if _terminal in config.stash:
        os.close(config.stash[_terminal])
        del config.stash[_terminal]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """End the whole run, with every thread's stack, when one test hangs.

    A flowgraph that hangs sits in GNU Radio's own code, where no Python exception reaches it; only the
    end of the process stops it.
    """
    marker = item.get_closest_marker("hard_timeout")
    seconds = marker.args[0] if marker else HARD_TIMEOUT
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_terminal])
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the checkout, with real recordings and reference models."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"the recordings and reference models are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def application():
    """The one QApplication that a process may have, drawing into memory."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    widgets = pytest.importorskip("PyQt5.QtWidgets")
    return widgets.QApplication.instance() or widgets.QApplication(["tests"])
