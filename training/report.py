# SPDX-License-Identifier: GPL-3.0-or-later
"""Released networks beside each other and beside what others published: pictures, and a page that shows them."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .errors import TrainingError
from .evaluate import draw_confusion
from .files import make_folder
from .published import BASELINE, CONTEST, LATER, LEAST_ACCURACY, Entry

PAGE = "README.md"


@dataclass(frozen=True)
class Network:
    """What the report needs of a card; ``test`` is ``evaluate.Tally.summary`` on the frames of the report's preset."""

    name: str
    test: dict
    cost: dict

    @property
    def score(self) -> float:
        """The cost score, with what timing the frames costs where that is done."""
        return self.cost.get("with_timing", self.cost)["score"]

    @property
    def nonzero_shares(self) -> list[float]:
        """Of the weights, by layer in order."""
        return [layer["nonzero_weights"] / layer["weights"] for layer in self.cost["layers"]]


def read_card(path: Path, preset: str) -> Network:
    """Raises TrainingError for a file that is no card, or one without a test on ``preset``."""
    try:
        card = json.loads(path.read_text(errors="replace"))
        tests = card["test"]["presets"]
        if preset not in tests:
            raise TrainingError(f"the card {path} has no test on {preset}, only on {', '.join(tests)}; leave it out.")
        test, costs = tests[preset], card["cost"]
        # What is drawn and printed of it must be there, and of its kind.
        numbers = [test[key] for key in ("accuracy", "interval_95", "frames")]
        numbers += [costs[key] for key in ("score", "bit_ops", "weight_bits", "sparsity")]
        numbers += [int(label) for label in test["by_snr"]] + list(test["by_snr"].values())
        network = Network(card["name"], test, costs)
        sum(numbers + [network.score] + network.nonzero_shares)
        np.array(test["confusion"], float).reshape(len(test["classes"]), len(test["classes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise TrainingError(f"{path} is not the card of a network ({error!r}); export the network again.") from None
    return network


def _by_snr(networks: Sequence[Network]) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for network in networks:
        labels = [int(label) for label in network.test["by_snr"]]
        text = f"{network.name}  {network.test['accuracy']:.3f}"
        axes.plot(labels, list(network.test["by_snr"].values()), marker=".", label=text)
    axes.set(xlabel="SNR label (dB)", ylabel="accuracy", ylim=(0, 1), xlim=(-20, 30))
    axes.grid(alpha=0.3)
    axes.legend(title="network, over all labels", fontsize="small")
    return figure


def _published() -> list[Entry]:
    """What others published, in the order of their numbers."""
    return sorted((BASELINE, *CONTEST, *LATER), key=lambda entry: entry.cost)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, accuracy) those that are more accurate than all that cost as much or less, cheapest first."""
    best: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def _plane(networks: Sequence[Network]) -> Figure:
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.axhline(LEAST_ACCURACY, color="grey", linestyle=":", linewidth=1, label="least accuracy of the challenge")
    for entries, marker, colour, label in (
        (CONTEST, "o", "tab:grey", "challenge of 2021, real set"),
        (LATER, "s", "tab:olive", "later papers, real set"),
        ((BASELINE,), "*", "black", "baseline, real set"),
    ):
        axes.scatter([e.cost for e in entries], [e.accuracy for e in entries], marker=marker, color=colour, label=label)
    for points, colour, label in (
        ([(entry.cost, entry.accuracy) for entry in _published()], "tab:grey", "the best of those, real set"),
        ([(network.score, network.test["accuracy"]) for network in networks], "tab:blue", "the best of ours"),
    ):
        axes.plot(*zip(*front(points), strict=True), color=colour, linewidth=1, alpha=0.6, zorder=0, label=label)
    for number, network in enumerate(networks):
        axes.errorbar(
            network.score,
            network.test["accuracy"],
            network.test["interval_95"],
            marker="D",
            color=f"C{number}",
            capsize=3,
            linestyle="none",
            label=f"{network.name}, {network.test['frames']:,} frames",
        )
    for number, entry in enumerate(_published(), 1):
        # Close ones turn away from each other.
        offset = (0, 6) if number % 2 else (0, -13)
        axes.annotate(number, (entry.cost, entry.accuracy), offset, textcoords="offset points", ha="center", fontsize=8)
    ticks = [digit * power for power in (0.01, 0.1, 1.0) for digit in (1, 2, 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="inference cost score (lower is better)", ylabel="accuracy over all SNR labels")
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize="small", loc="outside right upper")
    return figure


def _sparsity(networks: Sequence[Network]) -> Figure:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(networks)
    for number, network in enumerate(networks):
        places = np.arange(len(network.nonzero_shares)) + (number - (len(networks) - 1) / 2) * width
        axes.bar(places, network.nonzero_shares, width, label=network.name)
    layers = max((network.cost["layers"] for network in networks), key=len)
    axes.set_xticks(range(len(layers)), [f"{layer['name']}\n{layer['weights']:,}" for layer in layers], fontsize=7)
    axes.set(xlabel="layer, and its weights", ylabel="share of weights that are not zero", ylim=(0, 1))
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize="small")
    return figure


def _confusion(network: Network) -> Figure:
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    image = draw_confusion(axes, network.test["confusion"], network.test["classes"])
    figure.colorbar(image, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=f"{network.name}, all SNR labels")
    return figure


def _page(networks: Sequence[Network], preset: str) -> str:
    lines = [
        f"# Networks on `{preset}`",
        "",
        "| network | accuracy | frames | cost score | with timing | bit operations | weight bits | zero weights |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for network in networks:
        test, cost = network.test, network.cost
        lines.append(
            f"| `{network.name}` | {test['accuracy']:.4f} ± {test['interval_95']:.4f} | {test['frames']:,} "
            f"| {cost['score']:.6f} | {network.score:.6f} | {cost['bit_ops']:,} | {cost['weight_bits']:,} "
            f"| {cost['sparsity']:.1%} |"
        )
    lines += [
        "",
        "Accuracy is over all 24 classes and all SNR labels from -20 to 30 dB, with its 0.95 interval. Cost scores are",
        "relative to the 8-bit VGG10 of the challenge ITU-ML5G-PS-007. Where symbols are brought to the same places of",
        "each frame before the network sees it, the score with timing has what that multiplies, at 32 bits.",
        "",
        "## Accuracy by SNR label",
        "",
        "![Accuracy by SNR label](accuracy_by_snr.png)",
        "",
        "## Cost and accuracy",
        "",
        "The points of others were measured on the test split of the real RadioML 2018.01A, ours on generated frames.",
        "",
        "![Cost and accuracy](cost_accuracy.png)",
        "",
        "| | published | cost score | accuracy |",
        "| --- | --- | --- | --- |",
        *(f"| {n} | {e.name} | {e.cost:.6g} | {e.accuracy:.4f} |" for n, e in enumerate(_published(), 1)),
        "",
        "## Weights that are left, by layer",
        "",
        "![Weights that are left](sparsity.png)",
        "",
        "## Confusion",
    ]
    for network in networks:
        lines += ["", f"![Confusion of {network.name}](confusion-{network.name}.png)"]
    return "\n".join(lines) + "\n"


def report(cards: Sequence[Path], preset: str, out: Path) -> Path:
    """Writes the report of these networks on the test frames of ``preset`` into the folder ``out``.

    Returns the path of its page, README.md. Raises TrainingError for a card that is none, or lacks the preset.
    """
    networks = sorted((read_card(card, preset) for card in cards), key=lambda network: -network.score)
    figures = {
        "accuracy_by_snr.png": _by_snr(networks),
        "cost_accuracy.png": _plane(networks),
        "sparsity.png": _sparsity(networks),
    } | {f"confusion-{network.name}.png": _confusion(network) for network in networks}
    make_folder(out)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".report-") as folder:
            for name, figure in figures.items():
                figure.savefig(Path(folder) / name, dpi=110)
            (Path(folder) / PAGE).write_text(_page(networks, preset))
            for name in (*figures, PAGE):
                os.replace(Path(folder) / name, out / name)
    except OSError as error:
        raise TrainingError(f"the report {out} cannot be written: {error}; make room or give another folder.") from None
    return out / PAGE
