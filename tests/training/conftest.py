# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from tests.helpers.tiny_runs import CONFIG


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration file of a run too small to be good at anything."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def run(config):
    from training.config import read_run

    return read_run(config)
