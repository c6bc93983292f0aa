# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's settings, read from one YAML file; a key that does not exist is an error."""

import copy
import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path

import yaml

from .errors import TrainingError
from .networks import NETWORKS, STATISTICS_STEPS, Bits, network_options
from .policies import POLICIES
from .ranking import LEARNED_RANKINGS, RANKINGS, TRAINED_RANKINGS
from .signals import PRESETS, SNR_LABELS

Settings = typing.TypeVar("Settings")

PLATEAUS = ("none", "kept", "reset")
TWIN = "radioml2018"  # the preset that stands for the real set
NORMALISATIONS = (
    "none",
    "timed",
    "timed_compressed",
    "timed_turned",
    "unit_power",
    "unit_power_centred",
    "unit_power_timed",
    "unit_variance",
)


@dataclass(frozen=True)
class Source:
    """A share of the training frames: SNR labels from ``snr[0]`` to ``snr[1]`` dB, in steps of 2.

    ``classes`` are drawn alike; none named means all of the preset. ``outliers`` are frames of none of the run's
    classes (D. Hendrycks, M. Mazeika, T. Dietterich, "Deep Anomaly Detection with Outlier Exposure", ICLR 2019). In
    training they are one class more, whose logit is always zero and so needs no output. What is left of the softmax
    for the run's classes is the logistic function of their log-sum-exp: the score called energy learns to tell them.
    """

    preset: str
    share: float
    snr: tuple[int, int] = (-20, 30)
    classes: tuple[str, ...] = ()
    outliers: bool = False

    def __post_init__(self) -> None:
        _check_choice("preset", self.preset, PRESETS)
        _check_above_zero("a source", share=self.share)
        if not set(self.snr) <= set(SNR_LABELS) or self.snr[0] > self.snr[1]:
            raise TrainingError(
                f"snr is {list(self.snr)}; it must be two labels from {SNR_LABELS[0]} to {SNR_LABELS[-1]} "
                "in steps of 2, the lower one first."
            )
        if unknown := set(self.classes) - set(PRESETS[self.preset].classes):
            raise TrainingError(f"preset '{self.preset}' has no class '{sorted(unknown)[0]}'.")


@dataclass(frozen=True)
class Gradual:
    """Pruning a little before every epoch of a stage, to the cost score ``cost``, over the first ``share`` of it.

    The last epoch begins at that cost, whatever ``share`` is. What is above the cost falls with the third power of what
    is left of them (M. Zhu, S. Gupta, "To prune, or not to prune", 2017, equation 1). The weights go that are worth
    least by ``ranking`` (ranking.py) for what they cost, ``group`` of consecutive input channels at one tap of a
    convolution together, once channels stand in the order in which the groups left are worth most (order.py).
    In what they cost there, not in ``cost``, bit operations count ``operations`` times: they are what an engine's time
    goes by, which reads few weights.
    """

    cost: float
    share: float = 0.6
    ranking: str = "layer_adaptive"
    group: int = 1
    operations: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("gradual", cost=self.cost, group=self.group, operations=self.operations)
        if not 0 < self.share <= 1:
            raise TrainingError(f"the share of gradual is {self.share}; it must lie above 0 and be at most 1.")
        _check_choice("the ranking", self.ranking, TRAINED_RANKINGS)


@dataclass(frozen=True)
class Stage:
    """Training with one choice of bit widths, the learning rate falling from ``rate`` to zero on a cosine.

    ``sources`` take the place of the run's where given.
    """

    name: str
    frames: int
    rate: float
    bits: Bits = Bits()
    sources: tuple[Source, ...] = ()
    gradual: Gradual | None = None

    def __post_init__(self) -> None:
        _check_above_zero("the stage " + self.name, frames=self.frames, rate=self.rate)
        if self.gradual and self.bits.is_float:
            raise TrainingError(f"the stage {self.name} prunes to a cost, which a float network has not; give it bits.")


@dataclass(frozen=True)
class Pruning:
    """Iterative magnitude pruning: up to ``rounds`` times ``share`` of the remaining weights, all layers together.

    ``policy`` (policies.py) says when a round ends and what follows; a round has at most ``frames``.
    The accuracy to reach on the validation frames is ``threshold``, where ``relative`` times that of the unpruned
    network. ``plateau`` lowers the rate where the accuracy stays: ``none``, ``kept`` from round to round, or
    ``reset`` in each. ``group`` weights of consecutive input channels at one tap go together; ``ranking``
    (ranking.py) says which count as the smallest. The stages of ``finish`` follow the last round; the rounds take
    the bit widths and sources of the first of them.
    """

    rounds: int
    share: float
    threshold: float
    frames: int
    rate: float
    finish: tuple[Stage, ...]
    policy: str = "threshold"
    relative: bool = True
    plateau: str = "none"
    group: int = 1
    ranking: str = "magnitude"

    def __post_init__(self) -> None:
        _check_above_zero(
            "pruning",
            rounds=self.rounds,
            frames=self.frames,
            rate=self.rate,
            threshold=self.threshold,
            group=self.group,
        )
        if not 0 < self.share < 1:
            raise TrainingError(f"the share to prune is {self.share}; it must lie between 0 and 1.")
        if not self.finish:
            raise TrainingError("pruning needs at least one stage in finish.")
        _check_choice("the policy", self.policy, POLICIES)
        _check_choice("plateau", self.plateau, PLATEAUS)
        _check_choice("the ranking", self.ranking, RANKINGS)
        if POLICIES[self.policy].falling and self.plateau != "none":
            raise TrainingError(f"the policy {self.policy} sets the rate itself; remove plateau from pruning.")
        if not self.relative and self.threshold >= 1:
            raise TrainingError(f"the accuracy to reach is {self.threshold}; it must lie between 0 and 1.")


@dataclass(frozen=True)
class Teacher:
    """Another run, whose trained network's class probabilities are ``share`` of every frame's target.

    The label is the rest (G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015, at
    temperature 1): a label says little of a frame in noise, where the probabilities say what can be known.
    """

    name: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise TrainingError(f"the teacher's share is {self.share}; it must lie above 0 and be at most 1.")


@dataclass(frozen=True)
class Run:
    """What one configuration says.

    ``start`` names another run, whose trained network this one begins with, ``teacher`` one to learn from. ``data`` is
    the path of RadioML 2018.01A, or of a file like it: the sources of preset ``radioml2018`` are then read from it
    instead of generated. Training goes round ``distinct_frames``, the same ones again and again, which are made once
    and kept in memory, 4 KiB each, with what a teacher says of them.
    """

    name: str
    description: str
    seed: int
    sources: tuple[Source, ...]
    stages: tuple[Stage, ...] = ()
    pruning: Pruning | None = None
    start: str | None = None
    teacher: Teacher | None = None
    data: str | None = None
    network: str = "vgg10"
    network_options: dict = field(default_factory=dict)
    normalise: str = "unit_power"
    batch: int = 256
    distinct_frames: int | None = None
    frames_per_epoch: int = 51_200
    validation_frames_per_pair: int = 4

    def __post_init__(self) -> None:
        # The folder of the run, and of its files.
        if Path(self.name).name != self.name or self.name in ("", "..") or not self.name.isprintable():
            raise TrainingError(f"the name of the run is {self.name!r}; it must be one that a folder can have.")
        check_seed(self.seed)
        _check_choice("network", self.network, NETWORKS)
        _check_choice("normalise", self.normalise, NORMALISATIONS)
        _check_above_zero("the run", batch=self.batch, validation_frames_per_pair=self.validation_frames_per_pair)
        if not any(not source.outliers for source in self.sources):
            raise TrainingError("the run needs at least one entry in sources, beside outliers.")
        if not self.stages and not (self.start and self.pruning):
            raise TrainingError("the run needs at least one entry in stages, or a start and pruning.")
        if self.start == self.name:
            raise TrainingError(f"the run {self.name} starts from itself; name another run in start.")
        if self.teacher and self.teacher.name == self.name:
            raise TrainingError(f"the run {self.name} is its own teacher; name another run in teacher.")
        if self.distinct_frames is not None and self.distinct_frames < self.batch:
            raise TrainingError(
                f"distinct_frames is {self.distinct_frames}; it must be a batch ({self.batch}) or more."
            )
        if self.data and not any(source.preset == TWIN for source in self._all_sources()):
            raise TrainingError(f"the run has data, but no source of the preset {TWIN} that reads it.")
        self._check_network_options()
        if any(PRESETS[source.preset].classes != self.classes for source in self._all_sources() if not source.outliers):
            raise TrainingError("the presets of the run's sources have different classes; choose presets of one kind.")
        for stage in self._all_stages():
            learned = stage.gradual and stage.gradual.ranking in LEARNED_RANKINGS
            if learned and stage.frames <= self.frames_per_epoch:
                raise TrainingError(
                    f"the stage {stage.name} prunes before its first epoch, when it has no {stage.gradual.ranking}; "
                    "give it more frames, or another ranking."
                )
        # Brevitas does not save how far the statistics are, so no checkpoint may fall among them.
        if self.frames_per_epoch <= STATISTICS_STEPS * self.batch:
            raise TrainingError(
                f"frames_per_epoch is {self.frames_per_epoch}; an epoch must hold more than {STATISTICS_STEPS} batches."
            )

    def _check_network_options(self) -> None:
        kinds = network_options(NETWORKS[self.network])
        if unknown := set(self.network_options) - set(kinds):
            raise TrainingError(f"network '{self.network}' has no option '{_first(unknown)}'.")
        for name, value in self.network_options.items():
            _build(kinds[name], value, f"network_options.{name}")
            if kinds[name] is not bool and value is not None:
                _check_above_zero("network_options", **{name: value})
        # Widths for another number of layers, or that do not go together, are no surprise for the second stage.
        for bits in {stage.bits for stage in self._all_stages()}:
            NETWORKS[self.network](len(self.classes), bits, **self.network_options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs, in their order."""
        return PRESETS[self.presets(outliers=False)[0]].classes

    def presets(self, outliers: bool) -> list[str]:
        """Names of the presets of the run's sources, those of the classes or those of ``outliers``."""
        return sorted({source.preset for source in self._all_sources() if source.outliers == outliers})

    def _all_stages(self) -> list[Stage]:
        return [*self.stages, *(self.pruning.finish if self.pruning else ())]

    def _all_sources(self) -> list[Source]:
        return [*self.sources, *(source for stage in self._all_stages() for source in stage.sources)]


def check_seed(seed: int) -> None:
    """Raises TrainingError for one that a generator of random numbers cannot have."""
    if not 0 <= seed < 1 << 63:
        raise TrainingError(f"the seed is {seed}; it must be a whole number from 0 to 2^63 - 1.")


def _first(names: Iterable) -> str:
    """Of the names in a mapping of YAML, which may be numbers or other things too."""
    return min(map(str, names))


def _check_choice(where: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise TrainingError(f"{where} '{value}' is unknown; choose one of {', '.join(choices)}.")


def _check_above_zero(where: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise TrainingError(f"{name} of {where} is {value}; it must be above zero and finite.")


def _build(kind: type, value: object, where: str) -> object:
    """``value`` from YAML as the annotated type ``kind``; raises TrainingError that names the place."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TrainingError(f"{where} must be a mapping.")
        hints = typing.get_type_hints(kind)
        if unknown := set(value) - set(hints):
            raise TrainingError(f"{where} has no setting '{_first(unknown)}'; it has {', '.join(hints)}.")
        needed = {f.name for f in dataclasses.fields(kind) if _is_required(f)}
        if missing := needed - set(value):
            raise TrainingError(f"{where} lacks the setting '{_first(missing)}'.")
        return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType and dataclasses.is_dataclass(arguments[0]):
        return None if value is None else _build(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{where} is {value!r}; it must be a list.")
        kinds = arguments if arguments[-1] is not Ellipsis else (arguments[0],) * len(value)
        if len(kinds) != len(value):
            raise TrainingError(f"{where} has {len(value)} entries; it must have {len(kinds)}.")
        return tuple(_build(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True)))
    allowed = arguments if origin is types.UnionType else (kind,)
    if isinstance(value, list | tuple) and tuple[int, ...] in allowed:
        return _build(tuple[int, ...], value, where)
    allowed = tuple(choice for choice in allowed if not typing.get_origin(choice))
    # To Python true and false are numbers.
    is_wrong_bool = isinstance(value, bool) and bool not in allowed
    if float in allowed and isinstance(value, int) and not is_wrong_bool:
        return float(value)
    if is_wrong_bool or not isinstance(value, allowed):
        raise TrainingError(f"{where} is {value!r}, which is not of type {kind}.")
    return value


def _is_required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """Reads a YAML file as the dataclass ``kind``; raises TrainingError for a missing file, bad YAML or a wrong key."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise TrainingError(f"the configuration {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = " ".join(str(error).split())
        raise TrainingError(f"the configuration {path} is not valid YAML: {place}.") from None
    return _build(kind, content, path.name)


def read_run(path: Path) -> Run:
    """Reads a run's YAML file; raises TrainingError for a missing file, bad YAML or an unknown key."""
    return read_settings(path, Run)


def run_from_mapping(content: dict) -> Run:
    """The run whose settings a checkpoint holds."""
    return _build(Run, content, "the checkpoint's configuration")


def varied(content: dict, changes: dict[str, object]) -> Run:
    """The run of ``content`` with ``changes`` to it by their places, such as ``stages.1.bits.weight.0``.

    Raises TrainingError for a place that is not there, or a run that cannot be.
    """
    content = copy.deepcopy(content)
    for place, value in changes.items():
        *path, last = (int(part) if part.isdecimal() else part for part in str(place).split("."))
        try:
            inner: typing.Any = content
            for part in path:
                inner = inner[part] if isinstance(inner, list) else inner.setdefault(part, {})
            inner[last] = value
        except (TypeError, IndexError, AttributeError):
            raise TrainingError(f"the run has no place '{place}' to change.") from None
    return _build(Run, content, "the run")


def differences(before: Run, after: Run) -> list[str]:
    """What is said otherwise than before, by its place as in ``varied``: ``stages.0.rate is 0.002, was 0.004``."""
    return list(_differences(asdict(before), asdict(after), ""))


def _differences(before: object, after: object, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(name, before.get(name), after.get(name)) for name in before | after]
    elif isinstance(before, tuple) and isinstance(after, tuple):
        pairs = [(number, *pair) for number, pair in enumerate(zip_longest(before, after))]
    else:
        pairs = []
        if before != after:
            yield f"{place} is {after}, was {before}"
    for name, *pair in pairs:
        yield from _differences(*pair, f"{place}.{name}" if place else str(name))
