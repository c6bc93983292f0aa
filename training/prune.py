# SPDX-License-Identifier: GPL-3.0-or-later
"""Iterative magnitude pruning: which weights go, and the rounds of pruning and training that a policy leads."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .config import Pruning, Run, Stage
from .errors import TrainingError
from .networks import Bits, prunable_weights
from .policies import POLICIES
from .ranking import RANKINGS
from .train import Trainer, features_only, read_checkpoint, trained_checkpoint


def _group_size(weight: Tensor, group: int) -> int:
    """A layer with fewer inputs than ``group`` has one group a tap; raises TrainingError if groups do not fit."""
    inputs = weight.shape[1]
    size = min(group, inputs)
    if inputs % size:
        raise TrainingError(f"a layer of {inputs} inputs has no whole groups of {group}; choose another group.")
    return size


def _grouped(values: Tensor, size: int) -> Tensor:
    """Weights (outputs, inputs, taps...) as (outputs, inputs / size, size, taps): groups of inputs of one tap."""
    outputs, inputs = values.shape[:2]
    return values.reshape(outputs, inputs // size, size, -1)


def smaller_masks(
    weights: dict[str, Tensor], masks: dict[str, Tensor], share: float, group: int = 1, ranking: str = "magnitude"
) -> dict[str, Tensor]:
    """Masks of the weights that stay when the ``share`` of all remaining ones that are smallest go.

    Layers are compared with each other as ``ranking`` says. Of ``group`` above one, groups are ranked by the mean
    magnitude of their members, and go as a whole. ``masks`` may lack layers: nothing of those is pruned yet.
    """
    with torch.no_grad():
        sizes = {name: _group_size(weight, group) for name, weight in weights.items()}
        before = {name: masks.get(name, torch.ones_like(weight, dtype=torch.bool)) for name, weight in weights.items()}
        left = {name: _grouped(mask, sizes[name]).any(2) for name, mask in before.items()}
        means = {name: _grouped(weight.abs(), sizes[name]).mean(2) for name, weight in weights.items()}
        ranks = {name: torch.zeros_like(mean) for name, mean in means.items()}
        for name, mean in means.items():
            ranks[name][left[name]] = RANKINGS[ranking](mean[left[name]])
        remaining, order = torch.cat([ranks[name][left[name]] for name in weights]).sort()
        members = torch.cat(
            [torch.full_like(ranks[name][left[name]], size, dtype=torch.long) for name, size in sizes.items()]
        )
        if len(remaining) == 0:
            raise TrainingError("there is no weight left to prune; set fewer rounds, or a smaller share.")
        # From the smallest on, until the share of the weights is reached.
        gone = members[order].cumsum(0)
        limit = remaining[int((gone < round(share * int(gone[-1]))).sum())]
        staying = {name: left[name] & (ranks[name] > limit) for name in weights}
        return {
            name: flags.unsqueeze(2).expand(-1, -1, sizes[name], -1).reshape(weights[name].shape).clone()
            for name, flags in staying.items()
        }


@dataclass
class _State:
    """Where a run of pruning is, as its checkpoint says.

    ``round`` counts from 1 and prunes ``share``; ``goal`` is the accuracy to reach. ``kept`` is the network before
    the round, where the policy undoes rounds. ``finish`` is the number of the stage after the rounds, None in them.
    """

    round: int
    share: float
    goal: float
    plateau: dict | None
    kept: dict | None = None
    finish: int | None = None


def _advance(
    trainer: Trainer, state: _State, stage: Stage, falling: bool, position: dict | None, ends: Callable[[float], bool]
) -> dict:
    """Trains ``stage`` from its beginning or from ``position``, until its end or until ``ends`` of an accuracy."""
    if position is not None and position["over"]:
        return position
    for content in trainer.epochs(stage, falling, position, state.plateau):
        content["over"] = content["over"] or ends(content["accuracy"])
        content["pruning"] = asdict(state)
        trainer.save("pruned.pt", content)
        if content["over"]:
            break
    return content


def _rounds(trainer: Trainer, state: _State, rules: Pruning, position: dict | None) -> None:
    """The rounds from ``state`` on; afterwards ``state`` is at the first stage of ``finish``."""
    policy = POLICIES[rules.policy]
    trainer.change_bits(rules.finish[0].bits)
    while state.finish is None:
        if position is None:
            if policy.undoes:
                network = {name: value.clone() for name, value in trainer.network.state_dict().items()}
                state.kept = {"network": network, "masks": trainer.masks}
            weights = prunable_weights(trainer.network)
            trainer.masks = smaller_masks(weights, trainer.masks, state.share, rules.group, rules.ranking)
            trainer.apply_masks()
        stage = replace(rules.finish[0], name=f"round {state.round}", frames=rules.frames, rate=rules.rate)
        content = _advance(
            trainer, state, stage, policy.falling, position, lambda accuracy: policy.ends(accuracy, state.goal)
        )
        position = None
        trainer.save(f"round-{state.round:02}.pt", content)
        if rules.plateau == "kept":
            state.plateau = content["plateau"]
        reached = content["accuracy"] >= state.goal
        if policy.undoes and not reached:
            trainer.network.load_state_dict(state.kept["network"])
            trainer.masks = {name: mask.to(trainer.device) for name, mask in state.kept["masks"].items()}
        share = policy.next_share(state.share, reached)
        if share is None or state.round == rules.rounds:
            state.finish, state.kept, state.plateau = 0, None, None
        else:
            state.round, state.share = state.round + 1, share


def prune(run: Run, folder: Path, resume: bool = False) -> Path:
    """Prunes the trained network round by round; returns the path of the last checkpoint, ``pruned.pt``.

    Each round's end stays as ``round-NN.pt``. Raises TrainingError for a run without pruning, and for what ``train``
    raises it.
    """
    rules = run.pruning
    if rules is None:
        raise TrainingError(f"the run {run.name} has no pruning; add that section to its configuration.")
    position = read_checkpoint(folder / "pruned.pt") if resume else None
    own = position or (read_checkpoint(folder / "trained.pt") if run.stages else None)
    begin = own or features_only(trained_checkpoint(run.start, folder), run)
    trainer = Trainer(run, folder)
    if own:
        trainer.take_over(own)
    else:
        trainer.descend_from(begin)
    trainer.commits = trainer.commits | {"prune": trainer.commit}
    trainer.load_network(Bits(**begin["bits"]), begin["network"])
    if position:
        state = _State(**position["pruning"])
    else:
        goal = rules.threshold * (trainer.measure() if rules.relative else 1.0)
        state = _State(1, rules.share, goal, None if rules.plateau == "none" else {})
    if state.finish is None:
        _rounds(trainer, state, rules, position)
        position = None
    for number in range(state.finish, len(rules.finish)):
        state.finish = number
        trainer.change_bits(rules.finish[number].bits)
        _advance(trainer, state, rules.finish[number], True, position, lambda accuracy: False)
        position = None
    return folder / "pruned.pt"
