# SPDX-License-Identifier: GPL-3.0-or-later
"""A recipe with and without its parts: which runs are trained, and what is told of them."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import pytest
import yaml

from tests.helpers.tiny_runs import CONFIG, Killed, same
from training import ablations as module
from training.__main__ import main
from training.ablations import Ablations, Row, ablate
from training.config import read_settings
from training.errors import TrainingError
from training.train import Trainer, read_checkpoint, train

CONFIGS = Path(__file__).parents[2] / "training" / "configs" / "ablations"


def recipe(**settings):
    content = yaml.safe_load(CONFIG) | {"distinct_frames": 24}
    del content["pruning"]
    content["stages"][1] |= {"frames": 96, "gradual": {"cost": 1e-3}}
    rows = (Row("the recipe"), Row("three filters", {"network_options.filters": 3}))
    rows += (Row("float32", {"stages": content["stages"][:1]}),)
    return Ablations("part", "What parts are worth", content, (5, 6), rows, **settings)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations")
    return folder, ablate(recipe(), folder / "runs", folder / "report" / "part.md")


def test_the_page_tells_means_and_differences_seed_by_seed(done):
    _, page = done
    results = json.loads(page.with_suffix(".json").read_text())
    accuracy = {(one["row"], one["seed"]): one["accuracy"] for one in results}
    assert set(accuracy) == {(row, seed) for row in range(3) for seed in (5, 6)}
    lines = page.read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]
    assert [row[0] for row in table] == ["the recipe", "three filters", "float32"]
    for number, row in enumerate(table):
        differences = [accuracy[number, seed] - accuracy[0, seed] for seed in (5, 6)]
        assert row[1] == f"{mean(accuracy[number, seed] for seed in (5, 6)):.4f}"
        error = abs(differences[0] - differences[1]) / 2  # of the mean of two
        assert row[2] == (f"{mean(differences):+.4f} ± {error:.4f}" if number else "")
    assert table[2][3] == "float32" and float(table[0][3]) == pytest.approx(1e-3, rel=0.1)


def test_runs_that_share_their_frames_are_those_that_were_alone(done, tmp_path):
    folder, _ = done
    run = recipe().variation(1, 6)
    alone = read_checkpoint(train(run, tmp_path / run.name))
    shared = read_checkpoint(folder / "runs" / run.name / "trained.pt")
    assert shared["run"] == asdict(run)
    assert same(alone["network"], shared["network"])


def test_what_is_trained_is_not_trained_again(done, monkeypatch):
    folder, page = done
    before = page.read_text()

    def never(*_):
        raise AssertionError("a run that was there was begun")

    monkeypatch.setattr(module, "trained_epochs", never)
    assert ablate(recipe(), folder / "runs", folder / "again.md").read_text() == before


def test_what_was_killed_goes_on(done, tmp_path, monkeypatch):
    _, page = done
    save, saved = Trainer.save, []

    def die(self, name, content):
        if len(saved) == 7:
            raise Killed
        saved.append(name)
        return save(self, name, content)

    monkeypatch.setattr(Trainer, "save", die)
    with pytest.raises(Killed):
        ablate(recipe(), tmp_path / "runs", tmp_path / "part.md")
    assert not (tmp_path / "part.md").exists()
    monkeypatch.setattr(Trainer, "save", save)
    assert ablate(recipe(), tmp_path / "runs", tmp_path / "part.md").read_text() == page.read_text()


def test_mistakes_are_one_sentence(tmp_path, capsys):
    settings = {"name": "part", "title": "a test", "run": recipe().run, "seeds": [1, 2]}
    good = [{"name": "the recipe"}]
    for change, part in (
        ({"seeds": [1]}, "the seeds must be two or more"),
        ({"seeds": [1, 1]}, "the seeds must be two or more"),
        ({"run": yaml.safe_load(CONFIG)}, "ablations train stages alone; take pruning out"),
        ({"rows": [*good, {"name": "b", "changes": {3: 1}}]}, "in the row 'b': the run has no setting '3'"),
        ({"rows": []}, "the first of the rows is the recipe itself"),
        ({"rows": [{"name": "a", "changes": {"seed": 1}}]}, "the first of the rows is the recipe itself"),
        ({"rows": [*good, {"name": "b", "changes": {"speed": 1}}]}, "in the row 'b': the run has no setting 'speed'"),
        (
            {"rows": [*good, {"name": "b", "changes": {"stages.7.rate": 1}}]},
            "'b': the run has no place 'stages.7.rate'",
        ),
        ({"rows": [*good, {"name": "b", "changes": {"seed.1": 1}}]}, "the run has no place 'seed.1'"),
        ({"rows": [*good, {"name": "b", "change": {}}]}, "has no setting 'change'"),
    ):
        path = tmp_path / "ablations.yaml"
        path.write_text(yaml.safe_dump(settings | {"rows": good} | change))
        assert main(["ablate", str(path), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "a.md")]) == 1
        error = capsys.readouterr().err
        assert part in error
        assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_ablations_are_runs(path):
    ablations = read_settings(path, Ablations)
    assert ablations.name == f"ablation-{path.stem}"
    with pytest.raises(TrainingError, match="in the row 'the recipe': the seed is -1"):
        ablations.variation(0, -1)
