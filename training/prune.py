# SPDX-License-Identifier: GPL-3.0-or-later
"""Iterative magnitude pruning: the rounds of pruning and training that a policy leads."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .config import Pruning, Run, Stage
from .errors import TrainingError
from .masks import smaller_masks
from .networks import Bits
from .policies import POLICIES
from .start import features_only
from .train import TRAINED, Trainer, read_checkpoint, read_position, trained_checkpoint


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
            trainer.masks = smaller_masks(trainer.weights, trainer.masks, state.share, rules.group, rules.ranking)
            trainer.apply_masks()
        stage = replace(
            rules.finish[0], name=f"round {state.round}", frames=rules.frames, rate=rules.rate, gradual=None
        )
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
        # The configuration may have been given fewer since.
        if share is None or state.round >= rules.rounds:
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
    position = read_position(folder / "pruned.pt", "pruning") if resume else None
    own = position or (read_checkpoint(folder / TRAINED) if run.stages else None)
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
