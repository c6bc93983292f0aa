# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels side by side in the order in which groups of them are pruned at the least loss."""

import copy
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config import Gradual
from training.networks import NETWORKS, Bits, chained_convolutions, prunable_weights
from training.order import channel_order, reorder
from training.train import Trainer, read_checkpoint, train


def groups_of(worths, order, group):
    """What groups of neighbours are worth together in ``order``, in plain Python."""
    outputs, _, taps = worths.shape
    return [
        sum(float(worths[output, channel, tap]) for channel in order[first : first + group])
        for output in range(outputs)
        for first in range(0, len(order), group)
        for tap in range(taps)
    ]


def kept_of(worths, group, share):
    """The ``share`` of the groups that are worth most in the order that there is, and what the least of them is."""
    together = worths.unflatten(1, (-1, group)).sum(2)
    least = float(together.flatten().sort(descending=True).values[int(share * together.numel())])
    return (together >= least).repeat_interleave(group, 1), least


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4]), st.floats(0.05, 0.9))
def test_no_two_channels_that_change_places_would_keep_more(seed, group, share):
    generator = torch.Generator().manual_seed(seed)
    worths = torch.randn(3, 8, 2, generator=generator).double().square().square()
    kept, least = kept_of(worths, group, share)
    order = channel_order(worths, kept, group).tolist()
    assert sorted(order) == list(range(8))

    def above(places):
        return sum(max(0.0, worth - least) for worth in groups_of(worths, places, group))

    found = above(order)
    assert found >= above(list(range(8))) * (1 - 1e-9)
    for one, other in combinations(range(8), 2):
        exchanged = list(order)
        exchanged[one], exchanged[other] = exchanged[other], exchanged[one]
        assert above(exchanged) <= found * (1 + 1e-8)


@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        ("vgg10", [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 24)]),
        ("strided", [(0, 3), (3, 6), (6, 9), (9, 12), (12, 15)]),
        ("symbol_spaced", [(0, 3), (3, 6), (6, 9), (9, 12)]),
        ("separable", []),
        ("branched", []),
    ],
)
def test_filters_stay_where_depthwise_ones_or_sums_read_them(family, pairs):
    network = NETWORKS[family](24, Bits(4, 4, 4), filters=4, images=True)
    expected = [(f"features.{one}", f"features.{one + 1}", f"features.{other}") for one, other in pairs]
    assert list(chained_convolutions(network)) == expected


@pytest.mark.parametrize("bits", [Bits(), Bits(4, 4, 4)])
def test_a_network_in_another_order_says_the_same_and_learns_the_same(bits):
    torch.manual_seed(5)
    network = NETWORKS["vgg10"](24, bits, filters=8, hidden=8, scale_per_filter=True, images=True)
    frames, classes = torch.randn(16, 2, 1024), torch.randint(24, (16,))

    def learn(one, optimiser):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(one.train()(frames), classes).backward()
        optimiser.step()

    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(12):
        learn(network, optimiser)
    other = copy.deepcopy(network)
    its = torch.optim.Adam(other.parameters(), 1e-3)
    its.load_state_dict(optimiser.state_dict())
    for convolution, normalisation, reader in chained_convolutions(other):
        filters = [other.get_submodule(name) for name in (convolution, normalisation)]
        reorder(torch.randperm(8), filters, other.get_submodule(reader), its)
    assert not torch.equal(prunable_weights(other)["features.4"], prunable_weights(network)["features.4"])
    torch.testing.assert_close(other.eval()(frames), network.eval()(frames), rtol=1e-3, atol=1e-4)
    learn(network, optimiser)
    learn(other, its)
    # A step moves weights by the rate, whatever moments say; those that say the opposite move by two of it.
    torch.testing.assert_close(other.eval()(frames), network.eval()(frames), rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize("ranking", ["saliency", "movement"])
def test_a_stage_orders_channels_once_before_any_group_goes(run, tmp_path, monkeypatch, ranking):
    """And one that is resumed after that goes on as if nothing had been."""
    stage = replace(run.stages[1], gradual=Gradual(2e-3, ranking=ranking, group=4))
    grouped = replace(run, name="grouped", network_options={"filters": 8, "hidden": 8}, stages=(stage,), pruning=None)
    saved, save, orders, put = [], Trainer.save, [], Trainer._order_channels

    def save_and_note(self, name, content):
        saved.append(read_checkpoint(save(self, name, content)))

    def note(self, *arguments):
        before = {name: weight.detach().clone() for name, weight in self.weights.items()}
        put(self, *arguments)
        orders.append(
            (self.share_left, before, {name: weight.detach().clone() for name, weight in self.weights.items()})
        )

    monkeypatch.setattr(Trainer, "save", save_and_note)
    monkeypatch.setattr(Trainer, "_order_channels", note)
    whole = read_checkpoint(train(grouped, tmp_path / "grouped"))
    ((left, before, after),) = orders
    assert left == 1
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, weights in after.items():
        assert torch.equal(weights.flatten().sort().values, before[name].flatten().sort().values)
    (tmp_path / "again").mkdir()
    torch.save(saved[0], tmp_path / "again" / "trained.pt")
    again = read_checkpoint(train(grouped, tmp_path / "again", resume=True))
    for part in ("network", "masks", "movements"):
        for name, value in whole[part].items():
            assert torch.equal(again[part][name], value)
