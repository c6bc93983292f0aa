# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of released networks, and what others published."""

import json
import re
from pathlib import Path

import matplotlib.image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.__main__ import main
from training.published import BASELINE, CONTEST, LATER
from training.report import front

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
CARD = MODELS / "vgg10-w4a4-first.json"


@pytest.fixture
def second(tmp_path):
    """A card of another name, cost and accuracy."""
    content = json.loads(CARD.read_text())
    content["name"] = "second"
    content["cost"]["score"] = 0.0424
    content["test"]["presets"]["radioml2018"]["accuracy"] = 0.5625
    path = tmp_path / "second.json"
    path.write_text(json.dumps(content))
    return path


def test_a_page_and_its_pictures(second, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["report", str(CARD), str(second), "--out", str(out)]) == 0
    page = out / "README.md"
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text()
    shown = set(re.findall(r"\]\((\S+\.png)\)", text))
    assert shown | {"README.md"} == {path.name for path in out.iterdir()}
    assert {"confusion-second.png", "cost_accuracy.png", "accuracy_by_snr.png", "sparsity.png"} <= shown
    for name in shown:
        assert matplotlib.image.imread(out / name).std() > 0.05  # something is drawn
    # Dearest first, each with its own figures.
    rows = re.findall(r"^\| `(\S+)` \| (\S+) ± .* \| (0\.\d{6}) \|", text, re.MULTILINE)
    card = json.loads(CARD.read_text())
    first = f"{card['test']['presets']['radioml2018']['accuracy']:.4f}"
    assert rows == [(card["name"], first, f"{card['cost']['score']:.6f}"), ("second", "0.5625", "0.042400")]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_the_front_is_what_nothing_else_beats(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    assert front(points) == sorted({point for point in points if not beaten(point)})


def test_the_published_points_are_those_of_the_challenge(shared):
    """Each entry's cost and accuracy stand in the notes on the challenge as they do here."""
    notes = (shared / "RADIOML.md").read_text()
    assert len(CONTEST) == 13
    for entry in (*CONTEST, *LATER, BASELINE):
        accuracy = rf"{entry.accuracy:.4g}"[1:].rstrip("0")
        assert (
            re.search(
                rf"{re.escape(f'{entry.cost:.6f}'[1:].rstrip('0') if entry.cost < 1 else f'{entry.cost:g}')}", notes
            )
            or entry == BASELINE
        )
        assert accuracy in notes


@pytest.mark.parametrize(
    "spoil",
    [
        lambda card, test: test.update(accuracy=None),
        lambda card, test: test.update(by_snr=[0.5]),
        lambda card, test: test.update(by_snr={"high": 0.5}),
        lambda card, test: test.update(confusion=[[1, 2], [3]]),
        lambda card, test: test.update(classes=test["classes"][:3]),
        lambda card, test: card["cost"].update(score="low"),
        lambda card, test: card["cost"]["layers"][0].update(weights=0),
    ],
)
def test_cards_that_someone_changed(tmp_path, capsys, spoil):
    card = json.loads(CARD.read_text())
    spoil(card, card["test"]["presets"]["radioml2018"])
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card))
    assert main(["report", str(path), "--out", str(tmp_path / "report")]) == 1
    error = capsys.readouterr().err
    assert f"{path} is not the card of a network" in error
    assert error.count("\n") == 1


def test_a_model_given_for_a_card_is_not_printed(tmp_path, capsys):
    assert main(["report", str(CARD.with_suffix(".onnx")), "--out", str(tmp_path / "report")]) == 1
    error = capsys.readouterr().err
    assert "is not the card of a network" in error
    assert len(error) < 300


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "is not the card of a network"),
        ("[]", "is not the card of a network"),
        ("{}", "is not the card of a network"),
        ('{"test": {"presets": {"radioml2018": {}}}, "cost": {}, "name": "x"}', "is not the card of a network"),
        ('{"test": {"presets": {"wild": {}}}}', "has no test on radioml2018, only on wild"),
    ],
)
def test_files_that_are_no_cards(tmp_path, capsys, content, part):
    path = tmp_path / "card.json"
    if content is not None:
        path.write_text(content)
    assert main(["report", str(CARD), str(path), "--out", str(tmp_path / "report")]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()
