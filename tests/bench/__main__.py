# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench``: verifies that the answers are equal, then measures; a table and a JSON file."""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gnuradio.amc import load_model
from gnuradio.amc.errors import AmcError
from gnuradio.amc.files import replacing
from gnuradio.amc.normalise import normalise

from training.train import source_commit

from . import block, layers, memory, released, runtimes, signals
from .measure import FULL, QUICK, TINY, Effort, machine
from .networks import example_windows, write_counterpart

FLOAT32 = (
    "the same layers and sizes as the shipped network, without quantisers, with random weights (speed does not depend "
    "on them); batch normalisation is folded into the convolutions at export"
)

QUIET_LOAD = 0.5


def _tell(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


def run(name: str, effort: Effort) -> dict:
    """Everything that is reported; raises AmcError when a model cannot be used or answers differ."""
    report = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": source_commit(), "machine": machine()}
    load = report["machine"]["load_average_at_start"]
    if load > QUIET_LOAD:
        _tell(f"the machine is busy, or was in the last minute (load {load}); that disturbs the figures")
    model = load_model(name)
    report["model"] = {"name": model.path.stem, "sha256": hashlib.sha256(model.path.read_bytes()).hexdigest()}
    windows = example_windows()
    frames = normalise(windows, model.normalise)
    with tempfile.TemporaryDirectory() as folder:
        float32 = Path(folder) / "float32.onnx"
        network = write_counterpart(model.path, float32)
        report["float32"] = FLOAT32
        _tell("1/7 verifying that the answers are equal")
        opened = runtimes.openers(model.path, float32)
        report["verified"] = runtimes.verify(opened, network, frames)
        report["verified"] += block.verify(model, model.path, windows)
        _tell("2/7 the runtimes")
        ratios, report["runtimes"] = runtimes.measure(opened, frames, effort)
    report["layers"] = layers.measure(model.path, frames, effort) if "engine" in opened else []
    _tell("3/7 the released networks")
    report["released"] = released.measure(frames, effort)
    _tell("4/7 the block in a flowgraph")
    shares, report["block"] = block.measure_share(model.path, windows, effort)
    _tell("5/7 latency at 1 Msps, and 20 Msps live")
    report["latency"] = block.measure_latency(model.path, windows, effort)
    report["fast_receiver"] = block.measure_fast_receiver(model.path, windows, effort)
    _tell("6/7 memory")
    sizes, report["memory"] = memory.measure(model.path, effort)
    _tell("7/7 the signal generator")
    generated, report["signals"] = signals.measure(effort)
    report["ratios"] = [*shares, block.latency_ratio(report["latency"]), *sizes, *ratios, *generated]
    return report


def _row(name: str, figures: dict, remark: str = "") -> str:
    spread = f"{figures['min']:8.3f} ..{figures['max']:8.3f}" if figures["min"] != figures["max"] else " " * 18
    return f"{name:<62}{figures['median']:8.3f}  {spread}  {remark}".rstrip()


def _released(rows: list[dict]) -> list[str]:
    title = f"RELEASED NETWORKS, engine at batch {released.BATCH}"
    lines = [f"{title:<46}{'cost':>10}{'bit operations':>16}{'Msps':>8}{'on 2':>8}  accuracy"]
    for row in rows:
        accuracy = ", ".join(f"{preset} {value:.3f}" for preset, value in row["accuracy"].items())
        rates = "".join(f"{figures['median']:>8.1f}" for figures in row["msps"].values()) or f"{'-':>8}{'-':>8}"
        lines.append(f"{row['network']:<46}{row['cost']:>10.6f}{row['bit_operations']:>16,}{rates}  {accuracy}")
    return lines


def table(report: dict) -> str:
    """The report as text, ratios first."""
    about = report["machine"]
    lines = [
        f"gr-amc bench of {report['model']['name']}, commit {report['commit'][:12]}, {report['date']}",
        f"{about['processor']}, {about['cores']} cores, load {about['load_average_at_start']} at the start; GNU Radio "
        f"{about['gnuradio']}, onnxruntime {about['onnxruntime']}, numpy {about['numpy']}, Python {about['python']}",
        f"float32: {report['float32']}",
        *(f"verified: {sentence}" for sentence in report["verified"]),
        "",
        f"{'RATIO':<62}{'median':>8}  {'min':>8} ..{'max':>8}",
    ]
    for ratio in report["ratios"]:
        remark = f"aim: {ratio['aim']}, {'met' if ratio['met'] else 'MISSED'}" if "aim" in ratio else ""
        lines.append(_row(ratio["name"], ratio, remark))
    lines += ["", f"{'MSPS':<62}{'median':>8}  {'min':>8} ..{'max':>8}"]
    for row in report["runtimes"]:
        lines.append(_row(f"{row['network']}, batch {row['batch']}, threads {row['threads']}", row["msps"]))
    for row in report["block"]:
        name = {"runtime": "bare runtime", "block": "block in a flowgraph"}.get(row["what"], row["what"])
        lines.append(_row(f"{name}, batch {row['batch']}, threads {row['threads']}", row["msps"]))
    if report["layers"]:
        lines += [
            "",
            "ENGINE BY LAYER, 1 thread: weights not zero, products a window, ns a window, products a ns; "
            "these as a share of the processor's most products, and of its most reads",
        ]
    for row in report["layers"]:
        quads = ", four at a time" if row["products_at_a_time"] == 4 else ""
        lines.append(
            f"{row['layer']:<10}{row['nonzero_weights']:>8,}{row['products']:>12,}{row['nanoseconds']:>10,.0f}"
            f"{row['products'] / row['nanoseconds']:>8.1f}"
            f"{row['share_of_products']:>7.0%}{row['share_of_reads']:>6.0%}{quads}"
        )
    lines += ["", *_released(report["released"])]
    lines += ["", f"{'THOUSAND FRAMES A SECOND':<62}{'median':>8}  {'min':>8} ..{'max':>8}"]
    lines += [_row(f"{row['what']}, {row['class']}", row["thousand_frames"]) for row in report["signals"]]
    latency, fast = report["latency"], report["fast_receiver"]
    seconds, late = latency["seconds"], latency["source_lateness_seconds"]
    lines += [
        "",
        f"LATENCY at {latency['rate_msps']:g} Msps, batch {latency['batch']}, threads {latency['threads']}, "
        f"overload drop: median {seconds['median'] * 1e3:.2f} ms, 99th percentile "
        f"{seconds['percentile_99'] * 1e3:.2f} ms, largest {seconds['max'] * 1e3:.2f} ms; "
        f"{latency['dropped']} of {latency['windows']} windows dropped",
        f"  {latency['what']} (median {late['median'] * 1e3:.2f} ms, 99th percentile "
        f"{late['percentile_99'] * 1e3:.2f} ms)",
        "",
        f"LIVE at {fast['rate_msps']:.1f} Msps, batch {block.BATCH}, threads 1, overload drop: {fast['dropped']:,} of "
        f"{fast['windows']:,} windows dropped, {fast['cores']:.2f} cores in use",
        "",
        "RESIDENT MEMORY "
        + ", ".join(f"{look['samples']:.0e}: {look['bytes'] / 2**20:.1f} MiB" for look in report["memory"]["looks"]),
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs with ``argv`` (None: the program's own arguments) and returns the exit code."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute in place of several, with wider spread")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for the test that it runs at all
    parser.add_argument("--json", default="bench.json", metavar="PATH", help="the JSON file (bench.json)")
    parser.add_argument("--model", default="", help="name of a released model or a path (the default model)")
    arguments = parser.parse_args(argv)
    effort = TINY if arguments.tiny else QUICK if arguments.quick else FULL
    try:
        # Opened first, so that a file that cannot be written is known before the work.
        with replacing(arguments.json, "w") as file:
            report = run(arguments.model, effort)
            json.dump(report, file, indent=1)
            file.write("\n")
    except AmcError as error:
        _tell(str(error))
        return 1
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
