# SPDX-License-Identifier: GPL-3.0-or-later
"""A search for the shape and bit widths of a network, whose cost all candidates are pruned to."""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from .config import Run, Stage, varied
from .cost import cost_left
from .errors import TrainingError
from .files import make_folder, replacing
from .start import build_network
from .train import trained_epochs
from .workers import Workers

LEDGER, SETTINGS, BEST = "trials.csv", "settings.yaml", "best.yaml"
# A candidate whose loss, in nats, is so much above that of the best one in the same epoch is given up, but not before
# its last stage: until it is pruned, a wider network is always ahead. Losses differ by a tenth of that by chance;
# accuracies of few bits go up and down by a fifth from epoch to epoch.
HOPELESS = 0.04
# Random candidates of which none is new, after which there are taken to be no others.
MOST_DRAWN = 1000


@dataclass(frozen=True)
class Search:
    """``trials`` short trainings of ``run`` with values from ``choices``, lists in order, by their places in it.

    The first has the values of ``begin``. Each other one is a neighbour of the best so far: one value, or two or more,
    is the one before or behind in its list. Stages that prune to a cost do so for every candidate, but for one which
    has no more from the start.
    """

    name: str
    seed: int
    trials: int
    run: dict
    choices: dict
    begin: dict

    def __post_init__(self) -> None:
        if not self.choices or not all(isinstance(values, list) and values for values in self.choices.values()):
            raise TrainingError("choices must name places in the run, each with a list of values.")
        for place in self.choices.keys() ^ self.begin.keys():
            raise TrainingError(f"choices and begin must name the same places; '{place}' is in one of them alone.")
        for place, value in self.begin.items():
            if value not in self.choices[place]:
                raise TrainingError(f"begin has {value} for {place}, which is none of its choices.")
        if self.trials < 1:
            raise TrainingError(f"trials is {self.trials}; it must be 1 or more.")
        self.candidate(self.begin)

    def candidate(self, values: dict) -> Run:
        """The run with these values; raises TrainingError for one that cannot be."""
        run = varied({"name": self.name, "seed": self.seed, **self.run}, values)
        if run.pruning:
            raise TrainingError("a search trains stages alone; take pruning out of its run, and give a stage gradual.")
        return replace(run, stages=tuple(_affordable(run)))

    def neighbour(self, values: dict, number: int, tried: list[dict]) -> dict | None:
        """Values for trial ``number`` that were not tried, near ``values``; None where there are none left."""
        generator = random.Random(f"{self.seed} {number}")
        for _ in range(MOST_DRAWN):
            moved = dict(values)
            # Two on average: what goes well together is seldom found one by one.
            count = 1 + sum(generator.random() < 0.5 for _ in range(2))
            for place in generator.sample(list(values), min(count, len(values))):
                choices = self.choices[place]
                at = choices.index(values[place]) + generator.choice((-1, 1))
                moved[place] = choices[min(max(at, 0), len(choices) - 1)]
            if moved not in tried:
                return moved
        return None


def _affordable(run: Run) -> Iterator[Stage]:
    """The stages of a run, less a pruning to a cost that the network is below."""
    for stage in run.stages:
        if stage.gradual and cost_left(build_network(run, stage.bits, images=False), {}) <= stage.gradual.cost:
            yield replace(stage, gradual=None)
        else:
            yield stage


@dataclass(frozen=True)
class _Trial:
    """``accuracy`` on the validation frames at the end, None where given up; ``losses`` of the epochs until then."""

    values: dict
    losses: list[float]
    accuracy: float | None

    @property
    def worth(self) -> float:
        return -1.0 if self.accuracy is None else self.accuracy


def _check_settings(rules: Search, path: Path) -> None:
    """Raises TrainingError where the trials so far are those of other settings, which are in ``path``."""
    settings = _plain({name: value for name, value in asdict(rules).items() if name != "trials"})
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
    elif yaml.safe_load(path.read_text()) != settings:
        raise TrainingError(f"the trials in {path.parent} have other settings; delete it, or rename the search.")


def _read_trials(path: Path) -> list[_Trial]:
    """Raises TrainingError for a ledger that is damaged."""
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [_Trial(*(json.loads(row[name]) for name in ("values", "losses", "accuracy"))) for row in rows]
    except (OSError, KeyError, TypeError, ValueError):
        raise TrainingError(f"the trials in {path} cannot be read; delete the file, and search again.") from None


def _write_trials(path: Path, trials: list[_Trial]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "accuracy", "losses", "values"])
        for number, trial in enumerate(trials):
            writer.writerow([number, *map(json.dumps, (trial.accuracy, trial.losses, trial.values))])


def _tried(run: Run, values: dict, folder: Path, best: _Trial | None, lessons: dict) -> _Trial:
    """Trains a candidate, to its end unless it falls behind ``best``."""
    losses: list[float] = []
    for content in trained_epochs(run, folder, lessons=lessons):
        losses.append(content["loss"])
        last = content["stage"] == len(run.stages) - 1
        if best and last and losses[-1] > best.losses[len(losses) - 1] + HOPELESS:
            return _Trial(values, losses, accuracy=None)
    return _Trial(values, losses, content["accuracy"])


def search(rules: Search, folder: Path) -> Path:
    """Tries candidates, or what is left of them, in ``folder``; returns the path of the best one's configuration.

    Trials are kept in ``trials.csv``; what they train lies beside the folder. Raises TrainingError for what ``train``
    raises it, and for trials of other settings.
    """
    leads = Workers().leads
    make_folder(folder)
    _check_settings(rules, folder / SETTINGS)
    trials = _read_trials(folder / LEDGER)
    lessons: dict = {}
    while len(trials) < rules.trials:
        number, best = len(trials), max(trials, key=lambda trial: trial.worth, default=None)
        values = rules.neighbour(best.values, number, [trial.values for trial in trials]) if best else rules.begin
        if values is None:
            break
        own = folder.with_name(f"{folder.name}-{number}")
        trial = _tried(rules.candidate(values), values, own, best, lessons)
        trials.append(trial)
        if leads:
            _write_trials(folder / LEDGER, trials)
            print(_told(number, trial, best or trial), flush=True)
    best = max(trials, key=lambda trial: trial.worth)
    if leads:
        with replacing(folder / BEST) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(asdict(rules.candidate(best.values))), sort_keys=False))
    return folder / BEST


def _told(number: int, trial: _Trial, best: _Trial) -> str:
    changes = ", ".join(f"{p} {best.values[p]} -> {v}" for p, v in trial.values.items() if v != best.values[p])
    end = f"given up in epoch {len(trial.losses)}" if trial.accuracy is None else f"{trial.accuracy:.4f}"
    return f"trial {number}: {end}, the best before {best.accuracy:.4f}; {changes}"


def _plain(value: object) -> object:
    """Tuples as the lists that YAML has."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
