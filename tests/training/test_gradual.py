# SPDX-License-Identifier: GPL-3.0-or-later
"""Gradual pruning of a stage to a cost: what a weight costs, and when which of them go."""

from dataclasses import replace

import pytest
import torch
from brevitas.export import export_qonnx

from tests.helpers.tiny_runs import CONFIG, Killed, same
from training.__main__ import main
from training.config import Gradual
from training.cost import BASELINE_BIT_OPERATIONS, BASELINE_WEIGHT_BITS, cost, cost_left, weight_costs
from training.errors import TrainingError
from training.networks import NETWORKS, Bits, one_dimensional, prunable_weights, weight_counts
from training.prune import prune
from training.start import build_network
from training.train import Trainer, read_checkpoint, train

COST = 4e-4  # of the tiny network's 0.0021

# No two neighbours alike, but where a residual sum needs it.
ACTIVATIONS = {
    "vgg10": (3, 4, 5, 6, 7, 8, 2, 5, 3),
    "strided": (3, 4, 5, 6, 7, 8, 2, 4),
    "all_convolutional": (3, 4, 5, 6, 7),
    "deep_convolutional": (3, 4, 5, 6, 7, 8),
    "separable": (3, 4, 5, 4, 6, 7, 3, 7, 8, 5),
    "branched": (3, 4, 3, 5, 6, 7, 6, 8, 2, 4, 2, 5, 7, 6, 8),
    "symbol_spaced": (3, 4, 5, 6, 7),
    "symbol_spaced_hidden": (3, 4, 5, 6, 7, 5),
}


@pytest.fixture(scope="module")
def stage(run):
    """Four epochs of pruning, of which the first three prune."""
    return replace(run.stages[1], gradual=Gradual(COST))


@pytest.fixture(scope="module")
def whole(run, stage, tmp_path_factory):
    """The folder of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("runs") / "gradual"
    train(replace(run, name="gradual", stages=(stage,), pruning=None), folder)
    return folder


def costs_of(run):
    return weight_costs(build_network(run, Bits(4, 4, 4), images=True))


def spent(costs, masks):
    return sum(costs[name] * int(mask.sum()) for name, mask in masks.items())


def keep_what_is_saved(monkeypatch):
    """A list that grows by masks and network of each checkpoint."""
    saved, save = [], Trainer.save

    def save_and_note(self, name, content):
        path = save(self, name, content)
        saved.append(read_checkpoint(path))
        return path

    monkeypatch.setattr(Trainer, "save", save_and_note)
    return saved


# --- what a weight costs --------------------------------------------------------------------------


@pytest.mark.parametrize("family", NETWORKS)
def test_weights_cost_what_the_exported_network_is_billed(family, tmp_path):
    """Layer by layer, with a random part of the weights and other bits in each."""
    activations = ACTIVATIONS[family]
    bits = Bits(6, tuple(2 + 3 * number % 7 for number in range(len(activations) + 1)), activations)
    torch.manual_seed(11)
    trained, plain = (NETWORKS[family](24, bits, filters=4, images=images) for images in (True, False))
    for _ in range(12):
        trained(torch.randn(2, 2, 1024))
    weights = prunable_weights(trained)
    masks = {name: (weight != 0) & (torch.rand_like(weight) < torch.rand(())) for name, weight in weights.items()}
    with torch.no_grad():
        for name, weight in weights.items():
            # None is so small beside the largest that its code is 0.
            weight.copy_(masks[name] * weight.sign() * (0.6 + 0.4 * torch.rand_like(weight)))
    plain.load_state_dict(one_dimensional(trained.state_dict()))
    path = tmp_path / "network.qonnx.onnx"
    export_qonnx(plain.eval(), args=torch.zeros(1, 2, 1024), export_path=str(path))
    billed, costs = cost(path), weight_costs(trained)
    assert trained.training
    for layer, (name, mask) in zip(billed["layers"], masks.items(), strict=True):
        score = 0.5 * layer["bit_ops"] / BASELINE_BIT_OPERATIONS + 0.5 * layer["weight_bits"] / BASELINE_WEIGHT_BITS
        assert layer["nonzero_weights"] == int(mask.sum()) < layer["weights"]
        assert costs[name] * int(mask.sum()) == pytest.approx(score, rel=1e-12)
    assert spent(costs, masks) == pytest.approx(billed["score"], abs=1e-6)


def test_a_float_network_has_no_cost(run):
    with pytest.raises(TrainingError, match="a float network has no cost; give its stage bits"):
        weight_costs(build_network(run, Bits(), images=True))


# --- when which go --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "share", "left"),
    [
        (192, 0.75, (1, 2 / 3, 1 / 3, 0)),
        (168, 1.0, (1, 2 / 3, 1 / 3, 0)),  # half an epoch at the end
        (144, 0.5, (1, 1 / 3, 0)),
        (48, 0.6, (0,)),
    ],
)
def test_a_stage_comes_down_to_its_cost_and_brings_no_weight_back(
    run, stage, tmp_path, monkeypatch, frames, share, left
):
    saved = keep_what_is_saved(monkeypatch)
    changed = replace(stage, frames=frames, gradual=Gradual(COST, share))
    train(replace(run, stages=(changed,)), tmp_path)
    costs = costs_of(run)
    dense = spent(costs, {name: torch.ones_like(mask) for name, mask in saved[0]["masks"].items()})
    before = {name: torch.ones_like(mask) for name, mask in saved[0]["masks"].items()}
    for content, part in zip(saved, left, strict=True):
        due = COST + (dense - COST) * part**3
        assert due - max(costs.values()) < spent(costs, content["masks"]) <= due * (1 + 1e-9)
        for name, mask in content["masks"].items():
            assert not (mask & ~before[name]).any()
            assert not content["network"][f"{name}.weight"][~mask].any()
        before = content["masks"]
    if left[0]:
        assert all(mask.all() for mask in saved[0]["masks"].values())  # nothing is due yet


def test_groups_of_a_stage_go_as_a_whole(run, stage, tmp_path):
    grouped = replace(stage, gradual=Gradual(COST, group=4))
    content = read_checkpoint(train(replace(run, stages=(grouped,)), tmp_path))
    costs = costs_of(run)
    assert COST - 4 * max(costs.values()) < spent(costs, content["masks"]) <= COST * (1 + 1e-9)
    for name, mask in content["masks"].items():
        # The first layer sees in-phase and quadrature, the other convolutions four channels or more.
        size = 1 if mask.dim() == 2 else min(4, mask.shape[1])
        members = mask.unflatten(1, (-1, size)).float().mean(2)
        assert ((members == 0) | (members == 1)).all()
        assert not content["network"][f"{name}.weight"][~mask].any()


def test_where_operations_count_for_more_fewer_of_them_are_left(run, stage, tmp_path):
    costs = costs_of(run)
    products = {}
    for operations in (1.0, 100.0):
        dear = replace(stage, gradual=Gradual(COST, ranking="magnitude", operations=operations))
        masks = read_checkpoint(train(replace(run, stages=(dear,)), tmp_path / str(operations)))["masks"]
        assert COST - max(costs.values()) < spent(costs, masks) <= COST * (1 + 1e-9)
        # Each weight costs its products, and one number to store.
        cheapest = min(costs.values())
        products[operations] = sum((costs[name] - cheapest) * int(mask.sum()) for name, mask in masks.items())
    assert products[100.0] < products[1.0]


def test_what_was_pruned_before_stays_so(run, stage, whole, tmp_path, monkeypatch):
    saved = keep_what_is_saved(monkeypatch)
    lower = replace(stage, gradual=Gradual(COST / 2, ranking="magnitude"))
    train(replace(run, name="lower", start="gradual", stages=(lower,)), whole.parent / "lower")
    first, costs = read_checkpoint(whole / "trained.pt")["masks"], costs_of(run)
    assert same(saved[0]["masks"], first)  # nothing goes until what is due is less
    for content in saved:
        assert not any((mask & ~first[name]).any() for name, mask in content["masks"].items())
    assert COST / 2 - max(costs.values()) < spent(costs, saved[-1]["masks"]) <= COST / 2 * (1 + 1e-9)


@pytest.mark.parametrize("step", [17, 30])
def test_a_run_that_is_killed_while_it_prunes_goes_on_bit_for_bit(run, stage, whole, tmp_path, monkeypatch, step):
    killed = replace(run, name="gradual", stages=(stage,), pruning=None)
    take = Trainer._step

    def die(self, *arguments):
        if self.batches_seen == step:
            raise Killed
        return take(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(Killed):
        train(killed, tmp_path)
    monkeypatch.setattr(Trainer, "_step", take)
    kept = read_checkpoint(tmp_path / "trained.pt")
    assert kept["batches_seen"] == step // 12 * 12
    train(killed, tmp_path, resume=True)
    resumed, undisturbed = (read_checkpoint(folder / "trained.pt") for folder in (tmp_path, whole))
    assert spent(costs_of(run), resumed["masks"]) < spent(costs_of(run), kept["masks"])
    assert same(resumed["masks"], undisturbed["masks"])
    assert same(resumed["network"], undisturbed["network"])
    moments = (content["optimiser"]["state"] for content in (resumed, undisturbed))
    assert all(same(one, other) for one, other in zip(*(state.values() for state in moments), strict=True))


def test_movements_are_what_gradients_pull_weights_away_from_zero(run, stage, tmp_path, monkeypatch):
    """Summed over the steps, and no less of them where the run was killed on the way."""
    moving = replace(stage, frames=96, gradual=Gradual(COST, 1.0, "movement"))
    moving = replace(run, name="moving", stages=(moving,), pruning=None)
    pulled, note = {}, Trainer._note_movements

    def watch(self):
        for name, weight in prunable_weights(self.network).items():
            pulled[name] = pulled.get(name, 0) - weight.detach() * weight.grad
        note(self)

    monkeypatch.setattr(Trainer, "_note_movements", watch)
    saved = keep_what_is_saved(monkeypatch)
    whole = read_checkpoint(train(moving, tmp_path / "moving"))
    assert pulled.keys() == whole["movements"].keys()
    for name, expected in pulled.items():
        torch.testing.assert_close(whole["movements"][name], expected)
    # What goes before the second epoch is what had moved least by then, a layer's weights at the same cost.
    for name, mask in saved[1]["masks"].items():
        moved = saved[0]["movements"][name]
        if mask.any() and not mask.all():
            assert moved[mask].min() >= moved[~mask].max()
    (tmp_path / "again").mkdir()
    torch.save(saved[0], tmp_path / "again" / "trained.pt")
    again = read_checkpoint(train(moving, tmp_path / "again", resume=True))
    assert same(again["movements"], whole["movements"])
    assert same(again["network"], whole["network"])


def test_saliency_is_how_much_the_loss_rises_without_a_weight(run, stage, tmp_path, monkeypatch):
    """By squares of weights and gradients alone, which are averaged here without the optimiser, layer by layer."""
    salient = replace(stage, frames=96, gradual=Gradual(COST, 1.0, "saliency"))
    salient = replace(run, name="salient", stages=(salient,), pruning=None)
    squares, decay = {}, 0.999  # Adam's
    note = Trainer._note_movements

    def watch(self):
        for name, weight in prunable_weights(self.network).items():
            squares[name] = decay * squares.get(name, 0) + (1 - decay) * weight.grad.square()
        note(self)

    ranked, values_of = [], Trainer._ranked_values

    def keep(self, *arguments):
        weights = {name: weight.detach().clone() for name, weight in prunable_weights(self.network).items()}
        ranked.append((values_of(self, *arguments), weights, dict(squares)))
        return ranked[-1][0]

    monkeypatch.setattr(Trainer, "_note_movements", watch)
    monkeypatch.setattr(Trainer, "_ranked_values", keep)
    train(salient, tmp_path / "salient")
    assert len(ranked) > 1
    for values, weights, squared in ranked[1:]:
        assert values.keys() == weights.keys()
        for name, value in values.items():
            torch.testing.assert_close(value, weights[name].square() * squared[name])


def test_three_branches_stay_three_kernels(run, tmp_path):
    """In training, when pruned, and in what is counted of them."""
    options = {"filters": 6, "hidden": 8}
    stages = (replace(run.stages[0], frames=48), replace(run.stages[1], frames=96, gradual=Gradual(2e-3)))
    content = read_checkpoint(train(replace(run, network="branched", network_options=options, stages=stages), tmp_path))
    weight = content["network"]["features.0.weight"]
    for filters, kernel in ((weight[:2], 32), (weight[2:4], 26), (weight[4:], 18)):
        margin = (32 - kernel) // 2
        inside = filters[..., margin : margin + kernel]
        assert inside.any() and int(filters.count_nonzero()) == int(inside.count_nonzero())
    network = build_network(replace(run, network="branched", network_options=options), Bits(4, 4, 4), images=True)
    assert weight_counts(network)["features.0"] == 2 * 2 * (32 + 26 + 18)
    assert cost_left(network, content["masks"]) <= 2e-3 < cost_left(network, {})


def test_ranges_that_are_not_learned_stay_as_they_are(run, tmp_path):
    """When a run goes on from a checkpoint too: of each ReLU's range the optimiser knows nothing."""
    quantised = replace(run, stages=run.stages[1:])
    held = replace(quantised, network_options=run.network_options | {"learned_ranges": False})
    known = {}
    for name, one in (("learned", quantised), ("held", held)):
        content = read_checkpoint(train(one, tmp_path / name))
        network = build_network(one, Bits(**content["bits"]), images=True)
        network.load_state_dict(content["network"])
        ranges = [value for key, value in network.named_parameters() if "scaling_impl.value" in key]
        assert len(ranges) == 9
        assert all(value.requires_grad == (one is quantised) for value in ranges)
        known[name] = len(content["optimiser"]["state"])
    assert known["held"] == known["learned"] - 9


def test_rounds_take_their_share_though_their_finish_prunes_to_a_cost(run, stage, whole, monkeypatch):
    finish = replace(stage, name="finish", frames=96)
    rules = replace(run.pruning, policy="rewind", frames=96, finish=(finish,))
    start = replace(run, name="dense", stages=(replace(run.stages[1], frames=48),))
    train(start, whole.parent / "dense")
    saved = keep_what_is_saved(monkeypatch)
    prune(replace(run, name="rounds", start="dense", stages=(), pruning=rules), whole.parent / "rounds")
    left = [sum(int(mask.sum()) for mask in content["masks"].values()) for content in saved]
    total = sum(mask.numel() for mask in saved[0]["masks"].values())
    # Two epochs of each round, and the checkpoint of its end.
    assert left[:6] == [pytest.approx(share * total, abs=1) for share in [0.8] * 3 + [0.64] * 3]
    assert spent(costs_of(run), saved[-1]["masks"]) <= COST * (1 + 1e-9)


# --- mistakes -------------------------------------------------------------------------------------

QUANTISED = "{name: quantised, frames: 192, rate: 1.0e-3, bits: {input: 4, weight: 4, activation: 4}}"


@pytest.mark.parametrize(
    ("gradual", "part"),
    [
        ("{share: 0.5}", "gradual lacks the setting 'cost'"),
        ("0.01", "gradual must be a mapping"),
        ("{cost: 0.01, target: 1}", "gradual has no setting 'target'"),
        ("{cost: low}", "cost is 'low'"),
        ("{cost: 0}", "cost of gradual is 0.0; it must be above zero"),
        ("{cost: .nan}", "cost of gradual is nan; it must be above zero"),
        ("{cost: 0.01, share: 0}", "the share of gradual is 0.0"),
        ("{cost: 0.01, share: 1.5}", "the share of gradual is 1.5"),
        ("{cost: 0.01, ranking: luck}", "the ranking 'luck' is unknown"),
        ("{cost: 0.01, group: 0}", "group of gradual is 0"),
        ("{cost: 0.01, operations: 0}", "operations of gradual is 0"),
        ("{cost: 0.001, group: 3}", "a layer of 4 inputs has no whole groups of 3"),
        ("{cost: 1.0e-9}", "gradual prunes to a cost of 1e-09, where the network has 0.00"),
        ("{cost: 2}", "gradual prunes to a cost of 2, where the network has 0.00"),
        ("{cost: .inf}", "cost of gradual is inf; it must be above zero and finite"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, gradual, part):
    path = tmp_path / "run.yaml"
    text = CONFIG.replace("  - {name: float, frames: 96, rate: 1.0e-3}\n", "")
    path.write_text(text.replace(QUANTISED, f"{QUANTISED[:-1]}, gradual: {gradual}}}"))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("runs/tiny/*"))


@pytest.mark.parametrize("ranking", ["movement", "saliency"])
def test_before_the_first_epoch_nothing_is_learned(run, stage, ranking):
    short = replace(stage, frames=48, gradual=Gradual(COST, ranking=ranking))
    with pytest.raises(TrainingError, match=f"stage quantised prunes before its first epoch, when it has no {ranking}"):
        replace(run, stages=(short,))


def test_a_float_stage_is_not_pruned_to_a_cost(run):
    with pytest.raises(TrainingError, match="the stage float prunes to a cost, which a float network has not"):
        replace(run.stages[0], gradual=Gradual(COST))
