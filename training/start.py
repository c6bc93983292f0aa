# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run begins with: a network of its settings, as it is made or with what another run learned."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import Run, run_from_mapping
from .errors import TrainingError
from .networks import NETWORKS, Bits, output_layer, present_weights, prunable_weights


def build_network(run: Run, bits: Bits, images: bool) -> nn.Module:
    return NETWORKS[run.network](len(run.classes), bits, images=images, **run.network_options)


def features_only(content: dict, run: Run) -> dict:
    """A checkpoint to begin ``run`` with, less what starts afresh.

    That is the output layer where the run has other classes, and the whole head where it has other hidden layers.
    """
    parent = run_from_mapping(content["run"])
    if NETWORKS[parent.network].hidden_layers != NETWORKS[run.network].hidden_layers:
        left_out = "head"
    elif parent.classes != run.classes:
        left_out = output_layer(build_network(parent, Bits(**content["bits"]), images=True))
    else:
        return content
    kept = {
        part: {name: value for name, value in content[part].items() if not name.startswith(f"{left_out}.")}
        for part in ("network", "masks")
    }
    return content | kept


def resized(content: dict, run: Run) -> dict:
    """A checkpoint to begin ``run`` with: of a network with other numbers of filters, or other lengths, one like it.

    Of more filters those stay that most depends on, and of longer ones the middle. One with fewer or shorter filters
    says the same at first. Raises TrainingError for a pruned network, of which nothing says what is pruned of the other
    filters. Networks of another kind stay as they are, and are refused when they are loaded.
    """
    bits = Bits(**content["bits"])
    torch.manual_seed(run.seed)
    fresh = build_network(run, bits, images=True).state_dict()
    # Ranges of activations are a number a layer, which fresh networks have not learned yet.
    ranges = {name: value for name, value in content["network"].items() if "scaling" in name and name not in fresh}
    state = {name: value for name, value in content["network"].items() if name not in ranges}
    if all(name in fresh and fresh[name].shape == value.shape for name, value in state.items()):
        return content
    if any(name not in fresh or fresh[name].ndim != value.ndim for name, value in state.items()):
        return content
    parent = run_from_mapping(content["run"])
    network = build_network(parent, bits, images=True)
    present = present_weights(network)
    if any(not mask.equal(present.get(name, torch.ones_like(mask))) for name, mask in content["masks"].items()):
        raise TrainingError(
            f"the network of {parent.name} is pruned, so it cannot have other numbers of filters, or other lengths; "
            "start from one that is not."
        )
    state = _narrowed(state, fresh, list(prunable_weights(network)))
    if any(now < before for name in state for now, before in zip(fresh[name].shape, state[name].shape, strict=True)):
        return content
    return content | {"network": _widened(state, fresh) | ranges, "masks": {}}


def _narrowed(state: dict[str, Tensor], fresh: dict[str, Tensor], layers: list[str]) -> dict[str, Tensor]:
    """Of more filters than in ``fresh`` those that most depends on, and the middle of longer ones.

    What depends on a filter is what its normalisation lets through, times the weights of the next layer that read it.
    Where each filter of that reads one channel alone, or several samples of one, all stay.
    """
    state = dict(state)
    for layer, reader in pairwise(layers):
        if f"{layer}.weight" not in state:
            continue
        before, now = (len(weights[f"{layer}.weight"]) for weights in (state, fresh))
        reading = state.get(f"{reader}.weight")
        if now >= before or (reading is not None and reading.shape[1] != before):
            continue
        path, _, place = layer.rpartition(".")
        normalisation = f"{path}.{int(place) + 1}"
        matters = state[f"{normalisation}.weight"].abs()
        if reading is not None:
            matters = matters * reading.transpose(0, 1).flatten(1).norm(dim=1)
        kept = matters.topk(now).indices.sort().values
        for name, value in state.items():
            if name.startswith((f"{layer}.", f"{normalisation}.")) and value.ndim and len(value) == before:
                state[name] = value[kept]
        if reading is not None:
            state[f"{reader}.weight"] = reading[:, kept]
    for name, value in state.items():
        for axis in range(2, value.ndim):
            before, now = value.shape[axis], fresh[name].shape[axis]
            if now < before:
                value = value.narrow(axis, (before - now) // 2, now)
        state[name] = value
    return state


def _widened(state: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """With what is missing of ``fresh`` taken from there, so that the network says the same.

    What reads new filters has weights of zero there, which training moves first (T. Chen, I. Goodfellow, J. Shlens,
    "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016). Longer filters have the shorter ones in their
    middle, and zero around.
    """
    wide = dict(state)
    for name, value in state.items():
        sizes = fresh[name].shape
        if sizes != value.shape:
            wide[name] = fresh[name]
            if value.ndim > 1:
                wide[name][: len(value)] = 0
            first = [0, 0, *((now - before) // 2 for now, before in zip(sizes[2:], value.shape[2:], strict=True))]
            places = (slice(begin, begin + size) for begin, size in zip(first, value.shape, strict=False))
            wide[name][tuple(places)] = value
    return wide
