# SPDX-License-Identifier: GPL-3.0-or-later
"""A search for shapes and bit widths: what is tried, what is kept, and how it goes on."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.helpers.tiny_runs import CONFIG, Killed
from training import search as search_module
from training.__main__ import main
from training.config import read_run, read_settings
from training.cost import cost_left
from training.errors import TrainingError
from training.search import Search, search
from training.start import build_network
from training.train import Trainer, read_checkpoint

CONFIGS = Path(__file__).parents[2] / "training" / "configs" / "searches"
FILTERS, WEIGHT = "network_options.filters", "stages.1.bits.weight"


def settings(**changes):
    run = yaml.safe_load(CONFIG) | {"distinct_frames": 24}
    for name in ("pruning", "name", "seed"):
        del run[name]
    run["stages"][1] |= {"frames": 96, "gradual": {"cost": 1e-3}}
    choices = {FILTERS: [1, 3, 4, 6], WEIGHT: [3, 4, 5], "stages.0.rate": [1.0e-3]}
    begin = {FILTERS: 4, WEIGHT: 5, "stages.0.rate": 1.0e-3}
    content = {"name": "tiny-search", "seed": 7, "trials": 4, "run": run, "choices": choices, "begin": begin}
    return content | changes


def trials_of(folder):
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: json.loads(value) for name, value in row.items()} for row in rows]


def scripted(monkeypatch, ends, losses=None):
    """Has all trials, in turn, these accuracies at the end, and their epochs, one after the other, these losses."""
    ends, losses = iter(ends), None if losses is None else iter(losses)
    train = search_module.trained_epochs

    def trained_epochs(run, folder, lessons):
        for content in train(run, folder, lessons=lessons):
            content |= {"accuracy": next(ends)} if content["over"] and content["stage"] == 1 else {}
            yield content if losses is None else content | {"loss": next(losses)}

    monkeypatch.setattr(search_module, "trained_epochs", trained_epochs)


def test_the_best_of_the_trials_is_written_as_a_run(tmp_path, capsys):
    rules = Search(**settings())
    best = read_run(search(rules, tmp_path / "tiny-search"))
    trials = trials_of(tmp_path / "tiny-search")
    assert len(trials) == 4 == capsys.readouterr().out.count("the best before")
    assert trials[0]["values"] == rules.begin
    contents = [read_checkpoint(tmp_path / f"tiny-search-{number}" / "trained.pt") for number in range(4)]
    for trial, content in zip(trials, contents, strict=True):
        assert content["run"]["network_options"]["filters"] == trial["values"][FILTERS]
        assert content["run"]["stages"][1]["bits"]["weight"] == trial["values"][WEIGHT]
        assert content["loss"] == trial["losses"][-1]
        assert trial["accuracy"] in (content["accuracy"], None)
        assert len(trial["losses"]) == 4 or trial["accuracy"] is None
    first = max(range(4), key=lambda number: trials[number]["accuracy"] or 0)
    assert best.network_options == contents[first]["run"]["network_options"]
    assert best.stages[1].bits.weight == trials[first]["values"][WEIGHT]


def test_each_trial_is_a_new_neighbour_of_the_best_before(tmp_path, monkeypatch):
    ends = [0.5, 0.4, 0.6, 0.55, 0.58, 0.61]
    scripted(monkeypatch, ends)
    monkeypatch.setattr(search_module, "HOPELESS", 100.0)
    rules = Search(**settings(trials=6))
    search(rules, tmp_path / "tiny-search")
    values = [trial["values"] for trial in trials_of(tmp_path / "tiny-search")]
    for number in range(1, 6):
        assert values[number] not in values[:number]
        best = values[ends.index(max(ends[:number]))]
        for place, choices in rules.choices.items():
            assert abs(choices.index(values[number][place]) - choices.index(best[place])) <= 1


def test_a_search_ends_where_all_neighbours_were_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "measure", lambda self: 0.5)
    rules = Search(**settings(trials=50, choices={FILTERS: [3, 4], WEIGHT: [4]}, begin={FILTERS: 3, WEIGHT: 4}))
    search(rules, tmp_path / "tiny-search")
    assert [trial["values"][FILTERS] for trial in trials_of(tmp_path / "tiny-search")] == [3, 4]


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
    rules = Search(**settings(trials=3))
    whole = search(rules, tmp_path / "whole" / "tiny-search")
    step, folder = Trainer._step, tmp_path / "tiny-search"

    def die(self, *arguments):
        if self.folder.name == "tiny-search-1" and self.batches_seen == 30:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(Killed):
        search(rules, folder)
    assert len(trials_of(folder)) == 1
    monkeypatch.setattr(Trainer, "_step", step)
    assert search(rules, folder).read_text() == whole.read_text()
    assert trials_of(folder) == trials_of(whole.parent)
    monkeypatch.setattr(Trainer, "_step", die)  # nothing is left to try
    search(rules, folder)


def test_what_falls_behind_the_best_is_given_up(tmp_path, monkeypatch):
    """Not before the last stage, here of two epochs."""
    losses = [3.0, 2.5, 2.4, 2.3], [3.5, 2.9, 2.441], [3.5, 2.9, 2.439, 2.31], [2.9, 2.4, 2.4, 2.341]
    scripted(monkeypatch, [0.5, 0.4, 0.6], [loss for trial in losses for loss in trial])
    search(Search(**settings(trials=4)), tmp_path / "tiny-search")
    trials = trials_of(tmp_path / "tiny-search")
    assert [tuple(trial["losses"]) for trial in trials] == [tuple(trial) for trial in losses]
    assert [trial["accuracy"] for trial in trials] == [0.5, None, 0.4, None]


def test_trials_of_other_settings_are_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "measure", lambda self: 0.5)
    folder = tmp_path / "tiny-search"
    search(Search(**settings(trials=1)), folder)
    search(Search(**settings(trials=2)), folder)  # more of the same are
    assert len(trials_of(folder)) == 2
    with pytest.raises(TrainingError, match="have other settings; delete it, or rename the search"):
        search(Search(**settings(seed=8)), folder)


@pytest.mark.parametrize("ledger", ["trial\n1\n", "values,losses,accuracy\n{,,\n"])
def test_a_damaged_ledger_is_kept_and_refused(tmp_path, ledger):
    (tmp_path / "tiny-search").mkdir()
    (tmp_path / "tiny-search" / "trials.csv").write_text(ledger)
    with pytest.raises(TrainingError, match="cannot be read; delete the file"):
        search(Search(**settings()), tmp_path / "tiny-search")
    assert (tmp_path / "tiny-search" / "trials.csv").read_text() == ledger


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"choices": {}}, "choices must name places"),
        ({"choices": {FILTERS: 4}}, "choices must name places"),
        ({"choices": {FILTERS: []}}, "choices must name places"),
        ({"begin": {}}, "choices and begin must name the same places"),
        ({"choices": {FILTERS: [1]}, "begin": {FILTERS: 5}}, "begin has 5 for network_options.filters, which is none"),
        ({"run": yaml.safe_load(CONFIG)}, "a search trains stages alone; take pruning out"),
        ({"trials": 0}, "trials is 0; it must be 1 or more"),
        ({"choices": {"network_options.width": [1]}, "begin": {"network_options.width": 1}}, "has no option 'width'"),
        ({"choices": {"batch.size": [1]}, "begin": {"batch.size": 1}}, "the run has no place 'batch.size' to change"),
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
