# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that learns from another one's probabilities."""

from dataclasses import replace

import pytest
import torch

from tests.helpers.tiny_runs import Killed, same
from training.batches import OUTLIER
from training.config import Source, Teacher
from training.data import normalise
from training.errors import TrainingError
from training.export import _commands
from training.networks import Bits
from training.signals import PRESETS, generate
from training.start import build_network
from training.train import Trainer, mixed_precision, read_checkpoint, train


@pytest.fixture(scope="module")
def teachers(run, tmp_path_factory):
    """The folder of runs, with that of a teacher."""
    folder = tmp_path_factory.mktemp("runs")
    train(run, folder / run.name)
    return folder


def taught(run, share):
    return replace(run, name="taught", teacher=Teacher(run.name, share), stages=run.stages[-1:])


def frames_of(run):
    generator = torch.Generator().manual_seed(1)
    classes = torch.arange(24)
    frames = generate(PRESETS["radioml2018"], classes, torch.full((24,), 10), generator)
    return normalise(frames, run.normalise), classes


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_target_is_the_label_and_what_the_teacher_says(run, teachers, share):
    trainer = Trainer(taught(run, share), teachers / "taught")
    frames, classes = frames_of(run)
    targets = trainer._targets(classes, trainer._ask_teacher(frames))
    content = read_checkpoint(teachers / run.name / "trained.pt")
    teacher = build_network(run, Bits(**content["bits"]), images=True)
    teacher.load_state_dict(content["network"])
    with torch.no_grad(), mixed_precision(torch.device("cpu")):
        said = teacher.to(memory_format=torch.channels_last).eval()(frames).float().softmax(1)
    torch.testing.assert_close(targets, (1 - share) * torch.eye(24) + share * said, rtol=0, atol=1e-6)
    torch.testing.assert_close(targets.sum(1), torch.ones(24))


def test_of_what_is_no_class_the_teacher_says_nothing(run, teachers):
    pupil = taught(run, 0.5)
    pupil = replace(pupil, sources=(*pupil.sources, Source("others", share=0.5, outliers=True)))
    said = torch.full((3, 24), 1 / 24)
    targets = Trainer(pupil, teachers / "exposed")._targets(torch.tensor([3, OUTLIER, 0]), said)
    half = torch.full((25,), 0.5 / 24).index_fill(0, torch.tensor(24), 0.0)
    rows = [half + 0.5 * torch.eye(25)[3], torch.eye(25)[24], half + 0.5 * torch.eye(25)[0]]
    torch.testing.assert_close(targets, torch.stack(rows))


def test_a_teacher_is_asked_of_frames_as_it_knows_them(run, teachers):
    """Of the same signals, whatever the pupil has done to them."""
    alike, timed = (replace(taught(run, 0.5), normalise=kind) for kind in (run.normalise, "timed"))
    (frames, classes, said), (others, same_classes, said_again) = (
        Trainer(pupil, teachers / "taught")._lesson(pupil.sources, 5) for pupil in (alike, timed)
    )
    assert torch.equal(classes, same_classes)
    assert not torch.equal(frames, others)
    torch.testing.assert_close(said_again, said, rtol=0, atol=1e-6)


def test_a_teacher_changes_what_is_learned_and_is_remembered(run, teachers):
    pupil = taught(run, 0.5)
    content = read_checkpoint(train(pupil, teachers / "taught"))
    alone = read_checkpoint(train(replace(pupil, name="alone", teacher=None), teachers / "alone"))
    assert not same(content["network"], alone["network"])
    assert [ancestor["name"] for ancestor in content["ancestors"]] == [run.name]
    assert f"train training/configs/{run.name}.yaml && python -m training train" in _commands(content, pupil, "x.pt")
    # One that is the start too is named once.
    both = replace(pupil, name="both", start=run.name)
    content = read_checkpoint(train(both, teachers / "both"))
    assert [ancestor["name"] for ancestor in content["ancestors"]] == [run.name]


def test_mistakes_are_one_sentence(run, teachers):
    with pytest.raises(TrainingError, match="share is 1.5; it must lie above 0"):
        Teacher(run.name, 1.5)
    with pytest.raises(TrainingError, match="is its own teacher"):
        replace(run, teacher=Teacher(run.name))
    with pytest.raises(TrainingError, match="no checkpoint .*nobody"):
        train(replace(taught(run, 0.5), teacher=Teacher("nobody")), teachers / "taught")
    with pytest.raises(TrainingError, match="distinct_frames is 3; it must be a batch"):
        replace(run, distinct_frames=run.batch - 1)
    other = replace(taught(run, 0.5), sources=(Source("cabled", 1.0),))
    with pytest.raises(TrainingError, match="the teacher tiny has other classes than taught"):
        train(other, teachers / "taught")


def test_a_teacher_is_asked_once_of_frames_that_come_again(run, teachers, monkeypatch):
    pupil = replace(taught(run, 0.5), name="again", distinct_frames=3 * run.batch)
    asked, seen = [], []

    class Counting(Trainer):
        def _load_teacher(self):
            teacher = super()._load_teacher()
            teacher.register_forward_hook(lambda *_: asked.append(1))
            return teacher

        def _lesson(self, sources, number):
            lesson = super()._lesson(sources, number)
            seen.append(lesson)
            return lesson

    monkeypatch.setattr("training.train.Trainer", Counting)
    whole = read_checkpoint(train(pupil, teachers / "again"))
    batches = pupil.stages[0].frames // run.batch
    assert len(asked) == 3 < batches == len(seen)
    for number, lesson in enumerate(seen):
        assert all(torch.equal(part, first) for part, first in zip(lesson, seen[number % 3], strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])
    # A run that goes on in another process asks again, and is told the same.
    first = replace(pupil, name="killed")
    epochs = []
    save = Trainer.save

    def die_after_the_second(self, name, content):
        path = save(self, name, content)
        epochs.append(path)
        if len(epochs) == 2:
            raise Killed
        return path

    monkeypatch.setattr(Counting, "save", die_after_the_second)
    with pytest.raises(Killed):
        train(first, teachers / "killed")
    resumed = read_checkpoint(train(first, teachers / "killed", resume=True))
    assert same(resumed["network"], whole["network"])
