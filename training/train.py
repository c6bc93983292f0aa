# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of a run's stages; every state that matters is in the checkpoint."""

import csv
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .batches import OUTLIER, Batches, validation_frames
from .config import Gradual, Run, Source, Stage, differences, run_from_mapping
from .cost import cost_left, weight_costs
from .data import normalise
from .errors import TrainingError, first_line
from .files import make_folder, replacing
from .lessons import Lessons
from .masks import masks_within_cost
from .networks import (
    STATISTICS_STEPS,
    Bits,
    chained_convolutions,
    output_layer,
    present_weights,
    prunable_weights,
    weight_counts,
)
from .order import channel_order, reorder
from .ranking import MOVEMENT, SALIENCY
from .start import build_network, features_only, resized
from .workers import Workers


def source_commit() -> str:
    """Commit of this package's checkout, with ``-dirty`` where it differs; "unknown" outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    folder = Path(__file__).parent
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_checkpoint(path: Path, content: dict) -> None:
    """A kill leaves the previous checkpoint whole."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


# What every checkpoint has, and what those of a run at work have beside it and their place.
_CONTENT = {"run", "commits", "ancestors", "bits", "network", "masks", "batches_seen"}
_OF_TRAINING = {"optimiser", "plateau", "movements"}
_AT_WORK = {*_OF_TRAINING, "batches_done", "over"}


def read_checkpoint(path: Path) -> dict:
    """Raises TrainingError when there is none, it is damaged, or not of this pipeline."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"there is no checkpoint {path}; run the earlier step of this run first.") from None
    except Exception as error:  # torch raises several kinds for damaged files
        raise TrainingError(
            f"the checkpoint {path} cannot be read ({first_line(error)}); delete it and train again."
        ) from None
    if not isinstance(content, dict) or not _CONTENT <= set(content):
        raise TrainingError(f"the file {path} is not a checkpoint of this version; train again.")
    return content


def read_position(path: Path, place: str) -> dict:
    """The checkpoint to go on from, whose ``place`` in the run is under that key; raises TrainingError for others."""
    content = read_checkpoint(path)
    if not {place, *_AT_WORK} <= set(content):
        raise TrainingError(f"the checkpoint {path} is none that this step wrote; run it without --resume.")
    return content


def right_answers(network: nn.Module, frames: Tensor, classes: Tensor, batch: int = 512) -> Tensor:
    """How many of the frames a network names right."""
    network.eval()
    with torch.inference_mode():
        parts = zip(frames.split(batch), classes.split(batch), strict=True)
        return sum(((network(part).argmax(1) == truth).sum() for part, truth in parts), torch.tensor(0))


def mixed_precision(device: torch.device) -> torch.autocast:
    """Convolutions and products in bfloat16, but not on a processor without AVX-512, which only emulates them."""
    emulated = device.type == "cpu" and not torch.cpu.get_capabilities().get("avx512_f", False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=not emulated)


# At the end of a stage normalisations are measured over a tenth of its batches, and no more than these.
STATISTICS_BATCHES = 200

# The checkpoint of a run's stages, in its folder.
TRAINED = "trained.pt"
# Checkpoints that the project ships, so that nobody has to train again what others start from.
RELEASED = Path(__file__).parents[1] / "models" / "checkpoints"


class Trainer:
    """One network in training: optimiser, masks of pruned weights, position in the run's batches.

    ``lessons`` by sources are those that came before, where others have made them.
    """

    def __init__(self, run: Run, folder: Path, lessons: dict[tuple[Source, ...], Lessons] | None = None) -> None:
        self.run, self.folder = run, folder
        self.workers = Workers()
        self.device = self.workers.device
        # Asked once: the checkout may change while the run goes on.
        self.commit = source_commit()
        self.commits: dict[str, str] = {}
        self.ancestors: list[dict] = []
        make_folder(self.folder)
        self.batches = Batches(run, self.device, self.workers.rank, self.workers.count)
        self.batches_seen = 0
        self.masks: dict[str, Tensor] = {}
        self.movements: dict[str, Tensor] = {}
        self.network: nn.Module | None = None
        self.weights: dict[str, nn.Parameter] = {}
        self.bits = Bits()
        self.has_outliers = bool(run.presets(outliers=True))
        self.teacher_normalise = run.normalise
        self.teacher = self._load_teacher() if run.teacher else None
        self._lessons = {} if lessons is None else lessons  # those that come again
        self.validation = validation_frames(run, self.device)

    def load_network(self, bits: Bits, state: dict[str, Tensor] | None) -> None:
        torch.manual_seed(self.run.seed)
        network = build_network(self.run, bits, images=True)
        if state is not None:
            # A float network has no quantiser ranges: those are learned from the first batches. One that was begun with
            # for its features has no output layer, or no head at all.
            fresh = set()
            for part in (output_layer(network), "head"):
                keys = {key for key in network.state_dict() if key.startswith(f"{part}.")}
                fresh = keys if keys.isdisjoint(state) else fresh
            try:
                result = network.load_state_dict(state, strict=False)
            except RuntimeError:  # sizes that differ
                result = None
            if (
                result is None
                or result.unexpected_keys
                or any("scaling" not in key for key in set(result.missing_keys) - fresh)
            ):
                raise TrainingError("the checkpoint belongs to another network than the configuration names.")
        self.network, self.bits = network.to(self.device, memory_format=torch.channels_last), bits
        self.weights = prunable_weights(self.network)
        self.masks = present_weights(self.network) | self.masks

    def change_bits(self, bits: Bits) -> None:
        """Goes on with the same weights in other widths."""
        if bits != self.bits:
            self.load_network(bits, self.network.state_dict())

    def take_over(self, content: dict) -> None:
        """Goes on with what a checkpoint of this run says of the past, and tells which settings are not those of it."""
        changes = differences(run_from_mapping(content["run"]), self.run)
        if changes:
            sentence = f"goes on with other settings: {'; '.join(changes)}"
            self._console().print(sentence, markup=False, highlight=False, soft_wrap=True)
        self.batches_seen = content["batches_seen"]
        self.commits = content["commits"]
        self.ancestors = content["ancestors"]
        self.masks = {name: mask.to(self.device) for name, mask in content["masks"].items()}

    def _console(self) -> Console:
        return Console(quiet=not self.workers.leads)

    def _load_teacher(self) -> nn.Module:
        content = trained_checkpoint(self.run.teacher.name, self.folder)
        run = run_from_mapping(content["run"])
        if run.classes != self.run.classes:
            raise TrainingError(f"the teacher {run.name} has other classes than {self.run.name}.")
        network = build_network(run, Bits(**content["bits"]), images=True)
        try:
            network.load_state_dict(content["network"])
        except RuntimeError:  # names or sizes that differ
            raise TrainingError(f"the checkpoint of the teacher {run.name} is damaged; train it again.") from None
        self._remember(content)
        self.teacher_normalise = run.normalise
        return network.to(self.device, memory_format=torch.channels_last).eval()

    def _remember(self, content: dict) -> None:
        """Notes another run, and those before it, as ones that this one needs."""
        parent = {
            "name": content["run"]["name"],
            "commits": content["commits"],
            "frames_seen": content["batches_seen"] * content["run"]["batch"],
        }
        known = {ancestor["name"] for ancestor in self.ancestors}
        self.ancestors += [one for one in (*content["ancestors"], parent) if one["name"] not in known]

    def descend_from(self, content: dict) -> None:
        """Begins where another run ended."""
        self._remember(content)
        self.masks = {name: mask.to(self.device) for name, mask in content["masks"].items()}

    def measure(self) -> float:
        """Accuracy on the validation frames, the same number in every process."""
        self.workers.follow_the_leader(self.network)
        own = (part[self.workers.rank :: self.workers.count] for part in self.validation)
        return int(self.workers.sum(right_answers(self.network, *own))) / len(self.validation[0])

    def apply_masks(self) -> None:
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.weights[name].mul_(mask)

    def _prune(self, rules: Gradual, left: float, optimiser: torch.optim.Optimizer) -> None:
        """Prunes to the cost that is due when the share ``left`` of the way to the last pruning is left."""
        costs = weight_costs(self.network)
        dense = cost_left(self.network, {})
        dearest = rules.group * max(costs.values())
        if not dearest <= rules.cost < dense:
            raise TrainingError(
                f"gradual prunes to a cost of {rules.cost:g}, where the network has {dense:g} and what goes "
                f"together up to {dearest:g}; give a cost between them."
            )
        # The sum of what weights cost depends on their order, in its last digits: none is to go for that.
        due = (rules.cost + (dense - rules.cost) * left**3) * (1 + 1e-12)
        if rules.group > 1 and due < dense and self.share_left == 1:
            self._order_channels(rules, costs, optimiser)
        values = self._ranked_values(rules.ranking, optimiser)
        prices = weight_costs(self.network, rules.operations)
        self.masks = masks_within_cost(values, self.masks, costs, due, rules.ranking, rules.group, prices)
        self.apply_masks()

    def _order_channels(self, rules: Gradual, costs: dict[str, float], optimiser: torch.optim.Optimizer) -> None:
        """Before any of them goes, has those channels lie side by side with which the groups left are worth most."""
        values = self._ranked_values(rules.ranking, optimiser)
        prices = weight_costs(self.network, rules.operations)
        kept = masks_within_cost(values, self.masks, costs, rules.cost, rules.ranking, rules.group, prices)
        for convolution, normalisation, reader in chained_convolutions(self.network):
            order = channel_order(values[reader], kept[reader], rules.group)
            filters = (self.network.get_submodule(name) for name in (convolution, normalisation))
            known = ([self.movements[convolution]], [self.movements[reader]]) if self.movements else ((), ())
            reorder(order, filters, self.network.get_submodule(reader), optimiser, known)

    def _ranked_values(self, ranking: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
        """What ``ranking`` takes of the weights, by layer."""
        if ranking == MOVEMENT:
            return self.movements
        magnitudes = {name: weight.detach().abs() for name, weight in self.weights.items()}
        # Before the first step there are no gradients, and nothing that has to go.
        if ranking != SALIENCY or not optimiser.state:
            return magnitudes
        squares = {name: optimiser.state[weight]["exp_avg_sq"] for name, weight in self.weights.items()}
        return {name: magnitude.square() * squares[name] for name, magnitude in magnitudes.items()}

    @property
    def share_left(self) -> float:
        """Of all weights; of layers without a mask all are left."""
        counts = weight_counts(self.network)
        left = counts | {name: int(mask.sum()) for name, mask in self.masks.items()}
        return sum(left.values()) / sum(counts.values())

    def epochs(
        self, stage: Stage, falling: bool, start: dict | None = None, plateau: dict | None = None
    ) -> Iterator[dict]:
        """Trains for ``stage.frames``; yields a checkpoint's content after every epoch.

        ``falling``: the rate falls to zero on a cosine, and the normalisations are measured anew at the end, else it
        stays. ``plateau`` is the state of a scheduler that lowers it, empty to begin with. ``start`` is a checkpoint's
        content to go on from.
        """
        optimiser = torch.optim.Adam(self.network.parameters(), stage.rate)
        total = math.ceil(stage.frames / self.run.batch)
        per_epoch = math.ceil(self.run.frames_per_epoch / self.run.batch)
        done = 0
        if start is not None:
            optimiser.load_state_dict(start["optimiser"])
            done, plateau = start["batches_done"], start["plateau"]
        self._follow_movements(stage, start)
        scheduler = _plateau_scheduler(optimiser, plateau)
        with self._progress(stage.name, total, done) as tell:
            while done < total:
                if stage.gradual:
                    # The last epoch trains what is left at the cost itself, however few there are.
                    until = min(stage.gradual.share * total, (total - 1) // per_epoch * per_epoch)
                    self._prune(stage.gradual, 1 - done / until if done < until else 0.0, optimiser)
                self.network.train()
                losses = []
                for _ in range(min(per_epoch, total - done)):
                    if falling:
                        _set_rate(optimiser, stage.rate * 0.5 * (1 + math.cos(math.pi * done / total)))
                    losses.append(self._step(optimiser, stage.sources or self.run.sources))
                    done += 1
                    # Until then each process has measured ranges of its own.
                    if done <= STATISTICS_STEPS + 1:
                        self.workers.follow_the_leader(self.network)
                    tell(done)
                if falling and done == total:
                    self._measure_normalisations(
                        stage.sources or self.run.sources, min(math.ceil(total / 10), STATISTICS_BATCHES)
                    )
                loss = float(self.workers.mean(torch.stack(losses).mean()))
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss of {stage.name} is {loss} before batch {done} of {total}; the last good checkpoint "
                        f"is kept in {self.folder}: lower the rate ({stage.rate:g}), then go on with --resume."
                    )
                result = self.measure()
                if scheduler:
                    scheduler.step(result)
                tell(done, f"loss {loss:.3f} accuracy {result:.4f} weights {self.share_left:.3f}")
                self._log(stage, done, loss, result)
                yield {
                    "run": asdict(self.run),
                    "commits": self.commits,
                    "ancestors": self.ancestors,
                    "bits": asdict(stage.bits),
                    "network": self.network.state_dict(),
                    "masks": self.masks,
                    "movements": self.movements,
                    "optimiser": optimiser.state_dict(),
                    "plateau": scheduler.state_dict() if scheduler else None,
                    "batches_done": done,
                    "batches_seen": self.batches_seen,
                    "loss": loss,
                    "accuracy": result,
                    "over": done == total,
                }

    def _measure_normalisations(self, sources: tuple[Source, ...], count: int) -> None:
        """Has their mean and variance be those of the weights as they are now, over the next ``count`` batches.

        Weights of few bits change their codes to and fro until the last step, so running statistics are those of
        networks that there are no more (M. Nagel et al., "Overcoming Oscillations in Quantization-Aware Training",
        ICML 2022, section 4.2).
        """
        normalisations = [layer for layer in self.network.modules() if isinstance(layer, _BatchNorm)]
        momenta = [layer.momentum for layer in normalisations]
        for layer in normalisations:
            layer.reset_running_stats()
            layer.momentum = None  # all batches count alike
        self.network.train()
        with torch.no_grad(), mixed_precision(self.device):
            for number in range(self.batches_seen, self.batches_seen + count):
                self.network(normalise(self.batches.batch(sources, number)[0], self.run.normalise))
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum

    def _step(self, optimiser: torch.optim.Optimizer, sources: tuple[Source, ...]) -> Tensor:
        frames, classes, taught = self._lesson(sources, self.batches_seen)
        self.batches_seen += 1
        with mixed_precision(self.device):
            logits = self.network(frames)
        loss = nn.functional.cross_entropy(self._with_others(logits.float()), self._targets(classes, taught))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.workers.average_gradients(self.network)
        self._note_movements()
        optimiser.step()
        self.apply_masks()
        return loss.detach()

    def _follow_movements(self, stage: Stage, start: dict | None) -> None:
        """From the beginning of a stage that is to know them, or from where ``start`` was."""
        self.movements = {}
        if stage.gradual and stage.gradual.ranking == MOVEMENT:
            known = start["movements"] if start else {}
            self.movements = {
                name: known[name].to(self.device) if known else torch.zeros_like(weight, requires_grad=False)
                for name, weight in self.weights.items()
            }

    def _note_movements(self) -> None:
        """Adds how far this step's gradients would have weights move away from zero."""
        for name, movement in self.movements.items():
            weight = self.weights[name]
            movement.addcmul_(weight.grad, weight.detach(), value=-1)

    def _lesson(self, sources: tuple[Source, ...], number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Frames and classes of a batch, and the teacher's probabilities float32 (N, classes) or None."""
        if not self.run.distinct_frames:
            return self._made_lesson(sources, number)
        count = math.ceil(self.run.distinct_frames / self.run.batch)
        number %= count
        lessons = self._lessons.setdefault(sources, Lessons(count))
        if number not in lessons:
            frames, classes, taught = self._made_lesson(sources, number)
            lessons.keep(number, (frames.half(), classes, None if taught is None else taught.half()))
        # Rounded the first time too, so that a run that goes on elsewhere sees the same.
        frames, classes, taught = lessons[number]
        return frames.float(), classes, None if taught is None else taught.float()

    def _made_lesson(self, sources: tuple[Source, ...], number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        signals, classes = self.batches.batch(sources, number)
        frames = normalise(signals, self.run.normalise)
        if self.teacher is None:
            return frames, classes, None
        same = self.teacher_normalise == self.run.normalise
        return frames, classes, self._ask_teacher(frames if same else normalise(signals, self.teacher_normalise))

    def _ask_teacher(self, frames: Tensor) -> Tensor:
        with torch.no_grad(), mixed_precision(self.device):
            return self.teacher(frames).float().softmax(1)

    def _with_others(self, of_classes: Tensor) -> Tensor:
        """Logits, or probabilities, (N, classes) and in a run with outliers one more, zero, which is theirs."""
        return nn.functional.pad(of_classes, (0, 1)) if self.has_outliers else of_classes

    def _targets(self, classes: Tensor, taught: Tensor | None) -> Tensor:
        """What ``_with_others`` is to say: classes int64 (N,), or where that is more, probabilities float32."""
        named = torch.where(classes == OUTLIER, len(self.run.classes), classes)
        if taught is None:
            return named
        said = self._with_others(taught)
        targets = nn.functional.one_hot(named, said.shape[1]).float()
        return torch.where((classes == OUTLIER)[:, None], targets, targets.lerp(said, self.run.teacher.share))

    @contextmanager
    def _progress(self, name: str, total: int, done: int) -> Iterator[Callable[..., None]]:
        """Shows how far a stage is; a line for every epoch where there is no terminal."""
        console = self._console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        columns += (TimeRemainingColumn(), TextColumn("{task.fields[rate]} frames/s {task.fields[note]}"))
        first, begin = done, time.monotonic()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(name, total=total, completed=done, note="", rate="-")

            def tell(done: int, note: str | None = None) -> None:
                rate = f"{(done - first) * self.run.batch / max(time.monotonic() - begin, 1e-9):,.0f}"
                progress.update(task, completed=done, rate=rate)
                if note is None:
                    return
                progress.update(task, note=note)
                if not console.is_terminal:
                    console.print(f"{name} {done}/{total} {note} {rate} frames/s", highlight=False)

            yield tell

    def _log(self, stage: Stage, done: int, loss: float, result: float) -> None:
        if not self.workers.leads:
            return
        path = self.folder / "log.csv"
        fresh = not path.exists()
        try:
            with path.open("a", newline="") as file:
                writer = csv.writer(file)
                if fresh:
                    writer.writerow(["stage", "batches_done", "batches_seen", "loss", "accuracy", "weights_left"])
                writer.writerow([stage.name, done, self.batches_seen, loss, result, self.share_left])
        except OSError as error:
            raise TrainingError(
                f"the log {path} cannot be written: {error.strerror}; make room, then go on with --resume."
            ) from None

    def save(self, name: str, content: dict) -> Path:
        path = self.folder / name
        if self.workers.leads:
            write_checkpoint(path, content)
        return path


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _plateau_scheduler(optimiser: torch.optim.Optimizer, state: dict | None) -> ReduceLROnPlateau | None:
    """The published loop's scheduler: a tenth of the rate after ten epochs without a better accuracy."""
    if state is None:
        return None
    scheduler = ReduceLROnPlateau(optimiser, mode="max", factor=0.1, patience=10)
    if state:
        scheduler.load_state_dict(state)
        _set_rate(optimiser, scheduler.get_last_lr()[0])
    return scheduler


def trained_checkpoint(name: str, folder: Path) -> dict:
    """What the run ``name`` trained, beside ``folder`` or else as it is released; raises TrainingError for neither."""
    own, released = folder.parent / name / TRAINED, RELEASED / f"{name}.pt"
    return read_checkpoint(released if released.exists() and not own.exists() else own)


def release(checkpoint: Path, out: Path) -> Path:
    """Writes what other runs need to start from a checkpoint: all but the state of its training."""
    content = read_checkpoint(checkpoint)
    make_folder(out.parent)
    write_checkpoint(out, {name: value for name, value in content.items() if name not in _OF_TRAINING})
    return out


def trained_epochs(
    run: Run, folder: Path, resume: bool = False, lessons: dict[tuple[Source, ...], Lessons] | None = None
) -> Iterator[dict]:
    """Runs the stages in order; yields the content of ``trained.pt`` whenever it is written, after every epoch.

    Raises what ``train`` raises. ``lessons`` are those of a run with the same frames and teacher, which has made them.
    """
    if not run.stages:
        raise TrainingError(f"the run {run.name} has no stages to train; prune it.")
    start = read_position(folder / TRAINED, "stage") if resume else None
    before = None
    if run.start is not None and not resume:
        before = resized(features_only(trained_checkpoint(run.start, folder), run), run)
    trainer = Trainer(run, folder, lessons)
    if start:
        trainer.take_over(start)
    elif before:
        trainer.descend_from(before)
    trainer.commits = {"train": trainer.commit}
    first = start["stage"] if start else 0
    state = (start or before or {}).get("network")
    for index in range(first, len(run.stages)):
        stage = run.stages[index]
        trainer.load_network(stage.bits, state)
        for content in trainer.epochs(stage, falling=True, start=start):
            content["stage"] = index
            trainer.save(TRAINED, content)
            yield content
        start, state = None, trainer.network.state_dict()


def train(run: Run, folder: Path, resume: bool = False) -> Path:
    """Runs the stages in order; returns the path of the last checkpoint, ``trained.pt``.

    Raises TrainingError for a run without stages, a checkpoint that is missing, damaged or of another network, and
    a loss that is no number.
    """
    for _ in trained_epochs(run, folder, resume):
        pass
    return folder / TRAINED
