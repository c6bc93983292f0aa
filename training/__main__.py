# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the training package: ``python -m training COMMAND``."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from .errors import TrainingError

# Each command imports what it needs when it runs: torch and brevitas take seconds.


def _generate(options: argparse.Namespace) -> None:
    from .dataset import write_dataset

    write_dataset(options.preset, options.frames_per_pair, options.seed, options.out)
    print(options.out)


def _train(options: argparse.Namespace) -> None:
    from .config import read_run
    from .prune import prune
    from .train import train

    run = read_run(options.config)
    if options.data:
        run = replace(run, data=str(options.data))
    action = {"train": train, "prune": prune}[options.command]
    print(action(run, options.runs / run.name, options.resume))


def _ablate(options: argparse.Namespace) -> None:
    from .ablations import Ablations, ablate
    from .config import read_settings

    ablations = read_settings(options.config, Ablations)
    print(ablate(ablations, options.runs, options.out))


def _search(options: argparse.Namespace) -> None:
    from .config import read_settings
    from .search import Search, search

    rules = read_settings(options.config, Search)
    print(search(rules, options.runs / rules.name))


def _cost(options: argparse.Namespace) -> None:
    from .cost import cost

    result = cost(options.model)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'layer':<24}{'bit operations':>16}{'weight bits':>14}{'weights':>10}{'non-zero':>10}")
    for row in result["layers"]:
        print(f"{row['name']:<24}{row['bit_ops']:>16,}{row['weight_bits']:>14,}", end="")
        print(f"{row['weights']:>10,}{row['nonzero_weights']:>10,}")
    print(f"{'total':<24}{result['bit_ops']:>16,}{result['weight_bits']:>14,}   score {result['score']:.6f}")


def _evaluate(options: argparse.Namespace) -> None:
    from .dataset import open_dataset
    from .evaluate import evaluate, plot

    data = open_dataset(options.data)
    if data.remark:
        print(f"training: {data.remark}", file=sys.stderr)
    result = evaluate(options.model, data.parts(options.split), data.classes)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"accuracy {result['accuracy']:.4f} +- {result['interval_95']:.4f} on {result['frames']} frames")
        for name, share in result["by_class_from_label_10"].items():
            print(f"  {name:<10} {share:.3f} at SNR labels from 10")
    if options.plots:
        plot(result, options.plots)


def _fidelity(options: argparse.Namespace) -> None:
    from .fidelity import compare, measure, plot, read_reference, table

    reference = read_reference(options.reference)
    tally = measure(reference, options.frames_per_pair, options.seed)
    report = compare(reference, tally)
    print(json.dumps(report) if options.json else table(report))
    if options.plot:
        plot(reference, tally, options.plot)


def _export(options: argparse.Namespace) -> None:
    from .export import export

    for path in export(options.checkpoint, options.out):
        print(path)


def _release(options: argparse.Namespace) -> None:
    from .train import release

    print(release(options.checkpoint, options.out))


def _report(options: argparse.Namespace) -> None:
    from .report import report

    print(report(options.cards, options.preset, options.out))


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path)
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training", description="Train, prune, score and export networks.")
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("generate", help="write a dataset in RadioML 2018.01A's HDF5 layout")
    command.add_argument("--preset", default="radioml2018")
    command.add_argument("--frames-per-pair", type=int, default=4096, help="frames of each class at each SNR label")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(action=_generate)

    for name, text in (("train", "train a network"), ("prune", "prune the trained network round by round")):
        command = commands.add_parser(name, help=text)
        _add_run_arguments(command)
        command.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
        command.add_argument(
            "--data",
            type=Path,
            metavar="HDF5",
            help="RadioML 2018.01A, or a file in its layout: read in place of the frames of preset radioml2018",
        )
        command.set_defaults(action=_train)

    command = commands.add_parser(
        "ablate",
        help="train a recipe with and without each of its parts, from several seeds",
        description="Runs that are there already are not trained again, so a run that was stopped goes on.",
    )
    _add_run_arguments(command)
    command.add_argument("--out", type=Path, required=True, help="page of Markdown, such as models/report/NAME.md")
    command.set_defaults(action=_ablate)

    command = commands.add_parser(
        "search",
        help="look for the shape and bit widths of a network",
        description="Trials that are there already count, so a search that was stopped goes on.",
    )
    _add_run_arguments(command)
    command.set_defaults(action=_search)

    command = commands.add_parser("cost", help="inference cost of a QONNX file")
    command.add_argument("model", type=Path)
    command.add_argument("--json", action="store_true")
    command.set_defaults(action=_cost)

    command = commands.add_parser("evaluate", help="accuracy of an exported model on a dataset file")
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--split", choices=("train", "validation", "test", "all"), default="test")
    command.add_argument("--plots", type=Path, help="folder for pictures")
    command.add_argument("--json", action="store_true")
    command.set_defaults(action=_evaluate)

    command = commands.add_parser(
        "fidelity",
        help="compare the twin of RadioML 2018.01A with the real set",
        description="Runs a network that was trained on the real set on frames of the twin, beside its published "
        "figures.",
    )
    command.add_argument(
        "--reference",
        type=Path,
        default=Path("../shared/reference"),
        help="folder with the network, *.onnx, and its figures, published*.json (../shared/reference)",
    )
    command.add_argument(
        "--frames-per-pair", type=int, default=200, help="frames of each class at each SNR label (200)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--plot", type=Path, metavar="PNG", help="draw the confusion matrices")
    command.add_argument("--json", action="store_true")
    command.set_defaults(action=_fidelity)

    command = commands.add_parser("export", help="write a checkpoint's ONNX files and card")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--out", type=Path, required=True, help="path without suffix, such as models/NAME")
    command.set_defaults(action=_export)

    command = commands.add_parser("release", help="write what other runs need to start from a checkpoint")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--out", type=Path, required=True, help="such as models/checkpoints/NAME.pt")
    command.set_defaults(action=_release)

    command = commands.add_parser("report", help="compare released networks: pictures and a page of Markdown")
    command.add_argument("cards", type=Path, nargs="+", metavar="CARD", help="models/NAME.json")
    command.add_argument("--preset", default="radioml2018", help="the test frames to compare on (radioml2018)")
    command.add_argument("--out", type=Path, required=True, help="folder of the report, such as models/report")
    command.set_defaults(action=_report)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
