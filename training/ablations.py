# SPDX-License-Identifier: GPL-3.0-or-later
"""What each part of a recipe is worth: the same run with and without it, from several seeds."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

from .config import Run, varied
from .cost import cost_left
from .errors import TrainingError
from .files import make_folder, replacing
from .networks import Bits
from .start import build_network
from .train import TRAINED, read_checkpoint, trained_epochs
from .workers import Workers


@dataclass(frozen=True)
class Row:
    """A run that differs from the recipe in ``changes``, by their places (config.varied)."""

    name: str
    changes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Ablations:
    """The recipe ``run``, which has stages alone, as it is in the first of ``rows`` and changed in the others."""

    name: str
    title: str
    run: dict
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise TrainingError("the seeds must be two or more, and different, to tell how far runs differ by chance.")
        if not self.rows or self.rows[0].changes:
            raise TrainingError("the first of the rows is the recipe itself; give it no changes.")
        for number in range(len(self.rows)):
            self.variation(number, self.seeds[0])

    def variation(self, row: int, seed: int) -> Run:
        """The run of one row and seed; raises TrainingError, with the row's name, for one that cannot be."""
        try:
            changes = {**self.rows[row].changes, "name": f"{self.name}-{row}-{seed}", "seed": seed}
            run = varied(self.run, {"description": self.rows[row].name, **changes})
            if run.pruning:
                raise TrainingError("ablations train stages alone; take pruning out, and give a stage gradual.")
            return run
        except TrainingError as error:
            raise TrainingError(f"in the row '{self.rows[row].name}': {error}") from None


def _trained(run: Run, folder: Path, lessons: dict) -> dict:
    """The last checkpoint of a run, trained unless it is there already."""
    path = folder / TRAINED
    content = read_checkpoint(path) if path.exists() else None
    begun = content is not None and content["run"] == asdict(run)
    if begun and content["over"] and content["stage"] == len(run.stages) - 1:
        return content
    *_, content = trained_epochs(run, folder, begun, lessons)
    return content


def _measured(ablations: Ablations, folder: Path) -> Iterator[dict]:
    """Accuracy on the validation frames and cost of every row and seed, in turn."""
    for seed in ablations.seeds:
        # Runs with the same frames and teacher have them made once.
        lessons: dict[tuple, dict] = {}
        for row in range(len(ablations.rows)):
            run = ablations.variation(row, seed)
            same = (run.normalise, run.teacher, run.batch, run.distinct_frames, run.data)
            content = _trained(run, folder / run.name, lessons.setdefault(same, {}))
            bits = Bits(**content["bits"])
            cost = None if bits.is_float else cost_left(build_network(run, bits, images=True), content["masks"])
            yield {"row": row, "seed": seed, "accuracy": content["accuracy"], "cost": cost}


def _page(ablations: Ablations, results: list[dict]) -> str:
    accuracies = [[one["accuracy"] for one in results if one["row"] == row] for row in range(len(ablations.rows))]
    frames = sum(stage["frames"] for stage in ablations.run["stages"])
    lines = [
        f"# {ablations.title}",
        "",
        f"Accuracy on the validation frames after {frames:,} frames, mean of {len(ablations.seeds)} seeds, and what it "
        "differs from the first row, seed by seed, with the standard error of that mean.",
        "",
        "| | accuracy | difference | cost score |",
        "| --- | --- | --- | --- |",
    ]
    for number, (row, values) in enumerate(zip(ablations.rows, accuracies, strict=True)):
        differences = [value - first for value, first in zip(values, accuracies[0], strict=True)]
        error = stdev(differences) / len(differences) ** 0.5
        difference = f"{mean(differences):+.4f} ± {error:.4f}" if number else ""
        costs = [one["cost"] for one in results if one["row"] == number]
        cost = "float32" if None in costs else f"{mean(costs):.4f}"
        lines.append(f"| {row.name} | {mean(values):.4f} | {difference} | {cost} |")
    return "\n".join(lines) + "\n"


def ablate(ablations: Ablations, folder: Path, out: Path) -> Path:
    """Trains all rows from all seeds, or what is left of them, in ``folder``; returns ``out``, a page of Markdown.

    Beside it is a file of the same name ending in ``.json``, with the figures of every run. Raises TrainingError for
    what ``train`` raises it.
    """
    results = list(_measured(ablations, folder))
    if Workers().leads:
        make_folder(out.parent)
        with replacing(out.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
        with replacing(out) as temporary:
            temporary.write_text(_page(ablations, results))
    return out
