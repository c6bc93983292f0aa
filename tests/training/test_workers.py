# SPDX-License-Identifier: GPL-3.0-or-later
"""One run in several processes, as torchrun starts them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_runs import CONFIG
from training.train import read_checkpoint

ROOT = Path(__file__).parents[2]

GRADIENTS = """
import torch
from training.workers import Workers

workers = Workers()
torch.manual_seed(workers.rank)  # networks that differ, until they follow the leader
network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, (1, 3)), torch.nn.Flatten(), torch.nn.Linear(24, 3))
network = network.to(memory_format=torch.channels_last)
workers.follow_the_leader(network)
data = torch.randn(8, 2, 1, 8, generator=torch.Generator().manual_seed(5))
whole = torch.autograd.grad(network(data).square().mean(), network.parameters())
network(data[workers.rank::2]).square().mean().backward()
workers.average_gradients(network)
for parameter, expected in zip(network.parameters(), whole):
    torch.testing.assert_close(parameter.grad, expected)
print("the same")
"""


def torchrun(*command, folder):
    """Two processes; returns what they print."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_the_whole_batch(tmp_path):
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    assert torchrun("gradients.py", folder=tmp_path).count("the same") == 2


@pytest.mark.slow
def test_two_processes_train_and_prune_one_network(tmp_path):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    for command in ("train", "prune"):
        torchrun("-m", "training", command, "tiny.yaml", folder=tmp_path)
    folder = tmp_path / "runs" / "tiny"
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    # One log, as long as that of one process: 2 + 4 epochs of training, 2 rounds, 2 stages of finish.
    assert [row["stage"] for row in rows] == ["float"] * 2 + ["quantised"] * 4 + [
        "round 1",
        "round 2",
        "finish",
        "again",
    ]
    content = read_checkpoint(folder / "pruned.pt")
    assert content["batches_seen"] == int(rows[-1]["batches_seen"]) == 24 + 48 + 24 + 24
    assert all(torch.isfinite(value).all() for value in content["network"].values())
