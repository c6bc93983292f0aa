# SPDX-License-Identifier: GPL-3.0-or-later
"""A search for the shape and bit widths of a network, whose cost all candidates are pruned to."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from .config import Run, Stage, varied
from .cost import cost_left
from .errors import TrainingError
from .files import make_folder, replacing
from .train import build_network, trained_epochs
from .workers import Workers


@dataclass(frozen=True)
class Search:
    """``trials`` short trainings of ``run`` with values from ``choices``, lists in order, by their places in it.

    The first has ``begin``, a value of each. Stages that prune to a cost do so for every candidate, but for one which
    has no more from the start.
    """

    name: str
    seed: int
    trials: int
    run: dict
    choices: dict
    begin: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.choices or not all(isinstance(values, list) and values for values in self.choices.values()):
            raise TrainingError("choices must name places in the run, each with a list of values.")
        if set(self.begin) - set(self.choices):
            raise TrainingError(f"begin has '{min(set(self.begin) - set(self.choices))}', which choices has not.")
        for place, value in self.begin.items():
            if value not in self.choices[place]:
                raise TrainingError(f"begin has {value} for {place}, which is none of its choices.")
        if self.trials < 1:
            raise TrainingError(f"trials is {self.trials}; it must be 1 or more.")
        self.candidate({place: values[0] for place, values in self.choices.items()} | self.begin)

    def candidate(self, values: dict) -> Run:
        """The run with these values; raises TrainingError for one that cannot be."""
        run = varied({"name": self.name, "seed": self.seed, **self.run}, values)
        return replace(run, stages=tuple(_affordable(run)))


def _affordable(run: Run) -> Iterator[Stage]:
    """The stages of a run, less a pruning to a cost that the network is below."""
    for stage in run.stages:
        if stage.gradual and cost_left(build_network(run, stage.bits, images=False), {}) <= stage.gradual.cost:
            yield replace(stage, gradual=None)
        else:
            yield stage


def _study(rules: Search, folder: Path) -> optuna.Study:
    """The trials so far; one that was cut short is tried again.

    Raises TrainingError where they are another search's.
    """
    make_folder(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        sampler = optuna.samplers.TPESampler(seed=rules.seed, multivariate=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "trials.log"))),
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=10),
        study_name=rules.name,
        direction="maximize",
        load_if_exists=True,
    )
    settings = {name: value for name, value in asdict(rules).items() if name != "trials"}
    if study.user_attrs.get("settings", settings) != settings:
        raise TrainingError(
            f"the trials in {folder} have other settings; give the search another name, or delete them."
        )
    study.set_user_attr("settings", settings)
    if not study.trials and rules.begin:
        study.enqueue_trial({place: rules.choices[place].index(value) for place, value in rules.begin.items()})
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _values(rules: Search, trial: Trial | FrozenTrial) -> dict:
    """Of their places in order, so that what is learned of one says something of its neighbours."""
    return {
        place: values[trial.suggest_int(place, 0, len(values) - 1)] if len(values) > 1 else values[0]
        for place, values in rules.choices.items()
    }


def _judge(trial: Trial | None, workers: Workers, content: dict, step: int) -> bool:
    """Notes an epoch's accuracy; says whether to give the trial up, the same in all processes."""
    hopeless = False
    if trial is not None and content["stage"] == len(content["run"]["stages"]) - 1:
        trial.report(content["accuracy"], step)
        hopeless = trial.should_prune()
    return bool(workers.agreed(hopeless))


def search(rules: Search, folder: Path) -> Path:
    """Tries candidates, or what is left of them, in ``folder``; returns the path of the best one's configuration.

    Trials are kept in ``trials.log``, and what they train beside the folder. In their last stage they are given up
    where they are below the median. Raises TrainingError for what ``train`` raises it.
    """
    workers = Workers()
    study = _study(rules, folder) if workers.leads else None
    lessons: dict = {}
    while True:
        trial = None
        if study and len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))) < rules.trials:
            trial = study.ask()
        next_one = workers.agreed(None if trial is None else (trial.number, _values(rules, trial)))
        if next_one is None:
            break
        number, values = next_one
        hopeless, own = False, folder.with_name(f"{folder.name}-{number}")
        for step, content in enumerate(trained_epochs(rules.candidate(values), own, lessons=lessons)):
            hopeless = _judge(trial, workers, content, step)
            if hopeless:
                break
        if study:
            study.tell(trial, None if hopeless else content["accuracy"], TrialState.PRUNED if hopeless else None)
            print(_told(rules, study.trials[number]), flush=True)
    path = folder / "best.yaml"
    if study:
        run = asdict(rules.candidate(_values(rules, study.best_trial)))
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(run), sort_keys=False))
    return path


def _told(rules: Search, trial: FrozenTrial) -> str:
    values = " ".join(f"{place}={value}" for place, value in _values(rules, trial).items())
    accuracy = "given up" if trial.state == TrialState.PRUNED else f"{trial.value:.4f}"
    return f"trial {trial.number}: {accuracy} {values}"


def _plain(value: object) -> object:
    """Tuples as the lists that YAML has."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
