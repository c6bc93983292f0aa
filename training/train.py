# SPDX-License-Identifier: GPL-3.0-or-later
"""Training and iterative magnitude pruning; every state that matters is in the checkpoint."""

import csv
import math
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from .config import Run, Source, Stage
from .data import training_batch, validation_frames
from .errors import TrainingError
from .files import make_folder, replacing
from .networks import NETWORKS, Bits, prunable_weights


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def source_commit() -> str:
    """Commit of this package's checkout, with ``-dirty`` where it differs; "unknown" outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    folder = Path(__file__).parent
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def build_network(run: Run, bits: Bits, images: bool) -> nn.Module:
    return NETWORKS[run.network](len(run.classes), bits, images=images, **run.network_options)


def write_checkpoint(path: Path, content: dict) -> None:
    """A kill leaves the previous checkpoint whole."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path) -> dict:
    """Raises TrainingError when there is none or it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"there is no checkpoint {path}; run the earlier step of this run first.") from None
    except Exception as error:  # torch raises several kinds for damaged files
        raise TrainingError(f"the checkpoint {path} cannot be read ({error}); delete it and train again.") from None


def accuracy(network: nn.Module, frames: Tensor, classes: Tensor, batch: int = 512) -> float:
    network.eval()
    with torch.inference_mode():
        right = sum(
            int((network(part).argmax(1) == truth).sum())
            for part, truth in zip(frames.split(batch), classes.split(batch), strict=True)
        )
    return right / len(classes)


class Trainer:
    """One network in training: optimiser, masks of pruned weights, position in the run's batches."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.device = choose_device()
        # Asked once: the checkout may change while the run goes on.
        self.commits: dict[str, str] = {}
        self.commit = source_commit()
        make_folder(self.folder)
        self.batches_seen = 0
        self.masks: dict[str, Tensor] = {}
        self.network: nn.Module | None = None
        self.validation = validation_frames(run, self.device)

    def load_network(self, bits: Bits, state: dict[str, Tensor] | None) -> None:
        torch.manual_seed(self.run.seed)
        network = build_network(self.run, bits, images=True)
        if state is not None:
            # A float network has no quantiser ranges: those are learned from the first batches.
            try:
                result = network.load_state_dict(state, strict=False)
            except RuntimeError:  # sizes that differ
                result = None
            if result is None or result.unexpected_keys or any("scaling" not in key for key in result.missing_keys):
                raise TrainingError("the checkpoint belongs to another network than the configuration names.")
        self.network = network.to(self.device, memory_format=torch.channels_last)

    def prune(self, share: float) -> None:
        """Masks the ``share`` of all remaining weights that are smallest in magnitude, across layers."""
        weights = prunable_weights(self.network)
        for name, weight in weights.items():
            self.masks.setdefault(name, torch.ones_like(weight, dtype=torch.bool))
        remaining = torch.cat([weights[name].detach().abs()[mask] for name, mask in self.masks.items()])
        limit = remaining.kthvalue(max(1, round(share * len(remaining)))).values
        for name, mask in self.masks.items():
            mask &= weights[name].detach().abs() > limit
        self.apply_masks()

    def apply_masks(self) -> None:
        with torch.no_grad():
            weights = prunable_weights(self.network)
            for name, mask in self.masks.items():
                weights[name].mul_(mask)

    @property
    def share_left(self) -> float:
        if not self.masks:
            return 1.0
        return sum(int(m.sum()) for m in self.masks.values()) / sum(m.numel() for m in self.masks.values())

    def epochs(self, stage: Stage, falling: bool, start: dict | None = None) -> Iterator[dict]:
        """Trains for ``stage.frames``; yields a checkpoint's content after every epoch.

        ``falling``: the rate falls to zero on a cosine, else it stays. ``start`` is such a content to
        go on from.
        """
        optimiser = torch.optim.Adam(self.network.parameters(), stage.rate)
        total = math.ceil(stage.frames / self.run.batch)
        per_epoch = math.ceil(self.run.frames_per_epoch / self.run.batch)
        done = 0
        if start is not None:
            optimiser.load_state_dict(start["optimiser"])
            done = start["batches_done"]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}")) as progress:
            task = progress.add_task(stage.name, total=total, completed=done, note="")
            while done < total:
                self.network.train()
                losses = []
                for _ in range(min(per_epoch, total - done)):
                    rate = stage.rate * (0.5 * (1 + math.cos(math.pi * done / total)) if falling else 1.0)
                    losses.append(self._step(optimiser, rate, stage.sources or self.run.sources))
                    done += 1
                    progress.advance(task)
                loss = float(torch.stack(losses).mean())
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss of {stage.name} is {loss} before batch {done} of {total}; the last good checkpoint "
                        f"is kept in {self.folder}: lower the rate ({stage.rate:g}), then go on with --resume."
                    )
                result = accuracy(self.network, *self.validation)
                note = f"loss {loss:.3f} accuracy {result:.4f} weights {self.share_left:.3f}"
                progress.update(task, note=note)
                if not progress.console.is_terminal:
                    progress.console.print(f"{stage.name} {done}/{total} {note}", highlight=False)
                self._log(stage, done, loss, result)
                yield {
                    "run": asdict(self.run),
                    "commits": self.commits,
                    "bits": asdict(stage.bits),
                    "network": self.network.state_dict(),
                    "masks": self.masks,
                    "optimiser": optimiser.state_dict(),
                    "batches_done": done,
                    "batches_seen": self.batches_seen,
                    "accuracy": result,
                }

    def _step(self, optimiser: torch.optim.Optimizer, rate: float, sources: tuple[Source, ...]) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = rate
        frames, classes = training_batch(self.run, sources, self.batches_seen, self.device)
        self.batches_seen += 1
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.network(frames)
        loss = nn.functional.cross_entropy(logits.float(), classes)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        self.apply_masks()
        return loss.detach()

    def _log(self, stage: Stage, done: int, loss: float, result: float) -> None:
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["stage", "batches_done", "batches_seen", "loss", "accuracy", "weights_left"])
            writer.writerow([stage.name, done, self.batches_seen, loss, result, self.share_left])


def train(run: Run, folder: Path, resume: bool = False) -> Path:
    """Runs the stages in order; returns the path of the last checkpoint, ``trained.pt``."""
    trainer = Trainer(run, folder)
    path = folder / "trained.pt"
    start = read_checkpoint(path) if resume else None
    first = start["stage"] if start else 0
    state = start["network"] if start else None
    if start:
        trainer.batches_seen = start["batches_seen"]
    trainer.commits = {"train": trainer.commit}
    for index in range(first, len(run.stages)):
        stage = run.stages[index]
        trainer.load_network(stage.bits, state)
        for content in trainer.epochs(stage, falling=True, start=start):
            write_checkpoint(path, content | {"stage": index})
        start, state = None, trainer.network.state_dict()
    return path


def prune(run: Run, folder: Path, resume: bool = False) -> Path:
    """Prunes the trained network round by round; returns the path of the last checkpoint, ``pruned.pt``."""
    rules = run.pruning
    if rules is None:
        raise TrainingError(f"the run {run.name} has no pruning; add that section to its configuration.")
    trainer = Trainer(run, folder)
    path = folder / "pruned.pt"
    start = read_checkpoint(path if resume else folder / "trained.pt")
    trainer.batches_seen = start["batches_seen"]
    trainer.commits = start["commits"] | {"prune": trainer.commit}
    trainer.masks = {name: mask.to(trainer.device) for name, mask in start["masks"].items()}
    trainer.load_network(Bits(**start["bits"]), start["network"])
    dense = start["dense_accuracy"] if resume else accuracy(trainer.network, *trainer.validation)
    first = start["round"] if resume else 1
    position = start if resume else None
    for number in range(first, rules.rounds + 1):
        if position is None:
            trainer.prune(rules.share)
        stage = replace(rules.finish[0], name=f"round {number}", frames=rules.frames, rate=rules.rate)
        for content in trainer.epochs(stage, falling=False, start=position):
            write_checkpoint(path, content | {"round": number, "dense_accuracy": dense})
            if content["accuracy"] >= rules.threshold * dense:
                break
        position = None
    for number, stage in enumerate(rules.finish, rules.rounds + 1):
        if number < first:
            continue
        for content in trainer.epochs(stage, falling=True, start=position):
            write_checkpoint(path, content | {"round": number, "dense_accuracy": dense})
        position = None
    return path
