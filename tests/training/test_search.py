# SPDX-License-Identifier: GPL-3.0-or-later
"""A search for shapes and bit widths: what is tried, what is kept, and how it goes on."""

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.helpers.tiny_runs import CONFIG, Killed
from training.__main__ import main
from training.config import read_run, read_settings
from training.cost import cost_left
from training.errors import TrainingError
from training.search import Search, search
from training.train import Trainer, build_network, read_checkpoint

CONFIGS = Path(__file__).parents[2] / "training" / "configs" / "searches"
FILTERS, WEIGHT = "network_options.filters", "stages.1.bits.weight"


def settings(**changes):
    run = yaml.safe_load(CONFIG) | {"distinct_frames": 24}
    for name in ("pruning", "name", "seed"):
        del run[name]
    run["stages"][1] |= {"frames": 96, "gradual": {"cost": 1e-3}}
    choices = {FILTERS: [1, 3, 4, 6], WEIGHT: [3, 4, 5], "stages.0.rate": [1.0e-3]}
    begin = {FILTERS: 4, WEIGHT: 5}
    content = {"name": "tiny-search", "seed": 7, "trials": 4, "run": run, "choices": choices, "begin": begin}
    return content | changes


def trials_of(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / "trials.log")))
    return optuna.load_study(study_name="tiny-search", storage=storage).trials


def test_the_best_of_the_trials_is_written_as_a_run(tmp_path, capsys):
    rules = Search(**settings())
    best = read_run(search(rules, tmp_path / "tiny-search"))
    trials = trials_of(tmp_path / "tiny-search")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert trials[0].params == {FILTERS: 2, WEIGHT: 2}  # where begin is in choices
    assert capsys.readouterr().out.count(": 0.") >= 4
    contents = [read_checkpoint(tmp_path / f"tiny-search-{number}" / "trained.pt") for number in range(4)]
    for trial, content in zip(trials, contents, strict=True):
        assert content["run"]["network_options"]["filters"] == rules.choices[FILTERS][trial.params[FILTERS]]
        assert content["bits"]["weight"] == rules.choices[WEIGHT][trial.params[WEIGHT]]
        assert content["accuracy"] == trial.value
    first = max(range(4), key=lambda number: trials[number].value)
    assert best.network_options == contents[first]["run"]["network_options"]
    assert best.stages[1].bits.weight == contents[first]["bits"]["weight"]


def test_all_candidates_have_the_cost_or_less():
    """One that has no more from the start is not pruned."""
    rules = Search(**settings())
    for filters in rules.choices[FILTERS]:
        run = rules.candidate({FILTERS: filters, WEIGHT: 4})
        dense = cost_left(build_network(run, run.stages[1].bits, images=False), {})
        assert (run.stages[1].gradual is None) == (dense <= 1e-3)
    assert run.stages[1].gradual is not None
    assert rules.candidate({FILTERS: 1, WEIGHT: 3}).stages[1].gradual is None


def test_a_search_that_was_killed_goes_on_with_the_trial_that_it_was_at(tmp_path, monkeypatch):
    rules, folder = Search(**settings(trials=3)), tmp_path / "tiny-search"
    step = Trainer._step

    def die(self, *arguments):
        if self.folder.name == "tiny-search-1" and self.batches_seen == 30:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(Killed):
        search(rules, folder)
    monkeypatch.setattr(Trainer, "_step", step)
    search(rules, folder)
    trials = trials_of(folder)
    complete, failed = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in trials] == [complete, failed, complete, complete]
    assert trials[2].params == trials[1].params
    before = (folder / "best.yaml").read_text()
    search(rules, folder)  # nothing is left to try
    assert len(trials_of(folder)) == 4
    assert (folder / "best.yaml").read_text() == before


def test_trials_of_other_settings_are_not_gone_on_with(tmp_path):
    folder = tmp_path / "tiny-search"
    search(Search(**settings(trials=1)), folder)
    search(Search(**settings(trials=2)), folder)  # more of the same are
    assert len(trials_of(folder)) == 2
    with pytest.raises(TrainingError, match="have other settings; give the search another name, or delete them"):
        search(Search(**settings(seed=8)), folder)


def test_what_is_below_the_median_is_given_up(tmp_path, monkeypatch):
    """Of its last stage, and not before ten others are done."""
    rules, folder = Search(**settings(trials=12)), tmp_path / "tiny-search"
    measured = []
    monkeypatch.setattr(Trainer, "measure", lambda self: measured.append(1) or 0.9 - 0.001 * len(measured))
    search(rules, folder)
    states = [trial.state for trial in trials_of(folder)]
    assert states == [TrialState.COMPLETE] * 10 + [TrialState.PRUNED] * 2
    assert len(measured) == 10 * 4 + 2 * 3  # epochs: two of either stage, of the last one when given up


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"choices": {}}, "choices must name places"),
        ({"choices": {FILTERS: 4}}, "choices must name places"),
        ({"choices": {FILTERS: []}}, "choices must name places"),
        ({"begin": {"batch": 4}}, "begin has 'batch', which choices has not"),
        ({"begin": {FILTERS: 5}}, "begin has 5 for network_options.filters, which is none of its choices"),
        ({"trials": 0}, "trials is 0; it must be 1 or more"),
        ({"choices": {"network_options.width": [1]}, "begin": {}}, "has no option 'width'"),
        ({"choices": {"batch.size": [1]}, "begin": {}}, "the run has no place 'batch.size' to change"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, change, part):
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(settings(**change)))
    assert main(["search", str(path), "--runs", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_search_has_candidates(path):
    rules = read_settings(path, Search)
    assert rules.name == f"search-{path.stem}"
    dearest = {place: values[-1] for place, values in rules.choices.items()}
    assert rules.candidate(dearest).stages[-1].gradual
