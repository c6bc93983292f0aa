# SPDX-License-Identifier: GPL-3.0-or-later
"""Which weights go, and how the policies lead the rounds."""

import csv
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tiny_runs import CONFIG, Killed, same
from training.__main__ import main
from training.errors import TrainingError
from training.masks import masks_within_cost, smaller_masks
from training.networks import NETWORKS, Bits, prunable_weights
from training.prune import prune
from training.start import build_network, features_only, resized
from training.train import Trainer, read_checkpoint, train


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """The folder of runs, with that of the trained one."""
    folder = tmp_path_factory.mktemp("runs")
    train(run, folder / run.name)
    return folder


def with_rules(run, folder, **rules):
    """A run that starts from the trained one and prunes by other rules, and its folder."""
    name = "-".join(str(value) for value in rules.values())
    return replace(run, name=name, start=run.name, stages=(), pruning=replace(run.pruning, **rules)), folder / name


def script(monkeypatch, accuracies):
    """Has the trainer measure these accuracies, one after the other; the last one stays."""
    left = list(accuracies)
    monkeypatch.setattr(Trainer, "measure", lambda self: left.pop(0) if len(left) > 1 else left[0])


def log_of(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


# --- the weights ----------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.9), st.sampled_from([1, 4]))
def test_the_smallest_of_all_layers_together_go(seed, share, group):
    """Against a count in plain Python, in two rounds."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (3, 2, 1, 3), "second": (4, 8, 1, 3), "last": (5, 12)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    masks = {}
    for _ in range(2):
        before, masks = masks, smaller_masks(weights, masks, share, group)
        groups = []
        for name, weight in weights.items():
            size = 1 if name == "last" else min(group, weight.shape[1])  # no groups in a linear layer
            flat, mask = weight.reshape(*weight.shape[:2], -1), masks[name].reshape(*weight.shape[:2], -1)
            earlier = before.get(name, torch.ones_like(masks[name])).reshape(mask.shape)
            for output in range(flat.shape[0]):
                for begin in range(0, flat.shape[1], size):
                    for tap in range(flat.shape[2]):
                        place = output, slice(begin, begin + size), tap
                        assert len(set(mask[place].tolist())) == 1  # as a whole
                        if earlier[place].any():
                            groups.append((float(flat[place].abs().mean()), size, bool(mask[place].any())))
                        else:
                            assert not mask[place].any()
        groups.sort()
        stays = [flag for _, _, flag in groups]
        assert stays == sorted(stays)  # every one that went is smaller than every one that stayed
        gone = sum(size for _, size, flag in groups if not flag)
        wanted = round(share * sum(size for _, size, _ in groups))
        assert wanted <= gone < max(wanted, 1) + group


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_the_layer_adaptive_ranking_is_that_of_its_equation(seed, share):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (3, 2, 5), "second": (4, 3, 1), "last": (6, 4)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    masks = smaller_masks(weights, {}, 0.25, ranking="layer_adaptive")
    after = smaller_masks(weights, masks, share, ranking="layer_adaptive")
    scores = []
    for name, weight in weights.items():
        remaining = sorted(float(value) ** 2 for value in weight[masks[name]])
        for value, stays in zip(weight[masks[name]], after[name][masks[name]], strict=True):
            energy = float(value) ** 2
            scores.append((energy / sum(other for other in remaining if other >= energy), bool(stays)))
        assert not after[name][~masks[name]].any()
        assert after[name].flatten()[weight.abs().argmax()]  # the largest of a layer has the score 1
    stays = [flag for _, flag in sorted(scores)]
    assert stays == sorted(stays)
    assert stays.count(False) == max(round(share * len(stays)), 1)
    # A layer's own scale does not matter.
    scaled = weights | {"second": 100 * weights["second"]}
    again = smaller_masks(scaled, masks, share, ranking="layer_adaptive")
    assert all(torch.equal(again[name], after[name]) for name in weights)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 40.0))
def test_what_is_worth_least_for_its_cost_goes_until_the_cost_is_kept(seed, limit):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (3, 2, 5), "second": (4, 3, 1), "last": (6, 4)}
    weights = {name: torch.randn(shape, generator=generator).abs() for name, shape in shapes.items()}
    costs = {"first": 1.0, "second": 0.25, "last": 0.125}
    once = masks_within_cost(weights, {}, costs, 20.0, "magnitude")
    masks = masks_within_cost(weights, once, costs, limit, "magnitude")
    stays, goes = [], []
    for name, mask in masks.items():
        assert not (mask & ~once[name]).any()  # what is gone stays so
        for value, flag in zip(weights[name][once[name]], mask[once[name]], strict=True):
            (stays if flag else goes).append((float(value) / costs[name], costs[name]))
    spent = sum(cost for _, cost in stays)
    assert spent <= limit
    if goes:
        worth, cost = max(goes)
        assert not stays or min(stays)[0] >= worth
        assert spent + cost > limit  # no more than had to go


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 60.0), st.sampled_from(["magnitude", "movement"]))
def test_groups_go_as_a_whole_by_what_all_their_weights_are_worth(seed, limit, ranking):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (3, 2, 5), "second": (4, 8, 3), "last": (6, 4)}  # groups of 2 and 4, and no groups
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if ranking == "magnitude":
        values = {name: value.abs() for name, value in values.items()}
    costs = {"first": 1.0, "second": 0.25, "last": 0.125}
    masks = masks_within_cost(values, {}, costs, limit, ranking, group=4)
    stays, goes = [], []
    for name, size in {"first": 2, "second": 4, "last": 1}.items():
        # A row of members for each group of inputs at one tap.
        of_group = [
            tensor.reshape(tensor.shape[0], -1, size, tensor[0, 0].numel()).transpose(2, 3).reshape(-1, size)
            for tensor in (masks[name], values[name])
        ]
        for flags, members in zip(*of_group, strict=True):
            assert flags.all() or not flags.any()
            worth, price = float(members.double().sum()), size * costs[name]
            (stays if flags[0] else goes).append((worth * price if worth < 0 else worth / price, price))
    spent = sum(price for _, price in stays)
    assert spent <= limit * (1 + 1e-9)
    if goes:
        worth, price = max(goes)
        assert not stays or min(stays)[0] >= worth - 1e-5
        assert spent + price > limit


def test_groups_bring_back_nothing_of_what_went_before_them():
    values = {"layer": torch.ones(1, 4, 1)}
    before = {"layer": torch.tensor([True, False, True, True]).reshape(1, 4, 1)}
    after = masks_within_cost(values, before, {"layer": 1.0}, 4.0, "magnitude", group=4)
    assert torch.equal(after["layer"], before["layer"])


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 40.0))
def test_what_moved_to_zero_goes_first_and_the_dearest_of_it_before_all(seed, limit):
    generator = torch.Generator().manual_seed(seed)
    shapes, costs = {"first": (3, 2, 5), "second": (4, 3, 1)}, {"first": 1.0, "second": 0.25}
    moved = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    masks = masks_within_cost(moved, {}, costs, limit, "movement")
    stays = [value for name, mask in masks.items() for value in moved[name][mask]]
    goes = [value for name, mask in masks.items() for value in moved[name][~mask]]
    assert not goes or not stays or min(stays) >= 0 or max(goes) < 0
    # The same movement in both layers: where both moved to zero, the dearer goes first, where both away, the cheaper.
    alike = {name: torch.tensor([[value]]) for name in costs for value in (-1.0,)}
    assert not masks_within_cost(alike, {}, costs, 0.3, "movement")["first"]
    alike = {name: -value for name, value in alike.items()}
    assert masks_within_cost(alike, {}, {"first": 1.0, "second": 1.1}, 1.0, "movement")["first"]


def test_pruned_weights_are_gone_and_as_many_as_said(run, trained):
    pruned, folder = with_rules(run, trained, group=4)
    content = read_checkpoint(prune(pruned, folder))
    masks = content["masks"]
    total = sum(mask.numel() for mask in masks.values())
    left = sum(int(mask.sum()) for mask in masks.values())
    assert left <= 0.8**2 * total
    assert left == pytest.approx(0.8**2 * total, abs=8)
    for name, mask in masks.items():
        assert not content["network"][f"{name}.weight"][~mask].any()


def test_groups_that_do_not_fit(run, trained):
    pruned, folder = with_rules(run, trained, group=3)
    with pytest.raises(TrainingError, match="a layer of 4 inputs has no whole groups of 3"):
        prune(pruned, folder)


def test_nothing_left_to_prune(run, trained):
    pruned, folder = with_rules(run, trained, rounds=40, share=0.9)
    with pytest.raises(TrainingError, match="no weight left to prune; set fewer rounds"):
        prune(replace(pruned, pruning=replace(pruned.pruning, threshold=0.001)), folder)


def test_pruning_may_begin_in_float_and_goes_on_in_the_bits_of_its_finish(run, trained, tmp_path):
    float_run = replace(run, name="float", stages=run.stages[:1])
    train(float_run, tmp_path / "float")
    finish = (run.pruning.finish[0], replace(run.pruning.finish[1], bits=Bits(4, 3, 4)))
    rules = replace(run.pruning, finish=finish)
    prune(replace(run, name="pruned", start="float", stages=(), pruning=rules), tmp_path / "pruned")
    for name, bits in (("round-01.pt", Bits(4, 4, 4)), ("pruned.pt", Bits(4, 3, 4))):
        content = read_checkpoint(tmp_path / "pruned" / name)
        assert Bits(**content["bits"]) == bits
        assert any("scaling" in key for key in content["network"])  # quantisers that know their ranges


# --- the policies ---------------------------------------------------------------------------------


def test_threshold_prunes_as_soon_as_the_accuracy_is_back(run, trained, monkeypatch):
    pruned, folder = with_rules(run, trained, policy="threshold", threshold=0.9, frames=4 * 48)
    # Unpruned 0.5, so 0.45 is to be reached: in the second epoch of round 1, never in round 2.
    script(monkeypatch, [0.5, 0.44, 0.45, 0.1])
    prune(pruned, folder)
    assert [row["stage"] for row in log_of(folder)] == ["round 1"] * 2 + ["round 2"] * 4 + ["finish", "again"]
    assert [read_checkpoint(folder / f"round-{n:02}.pt")["accuracy"] for n in (1, 2)] == [0.45, 0.1]


def test_a_threshold_may_be_an_accuracy(run, trained, monkeypatch):
    pruned, folder = with_rules(run, trained, policy="threshold", threshold=0.3, relative=False, frames=96)
    script(monkeypatch, [0.29, 0.3])
    prune(pruned, folder)
    assert [row["stage"] for row in log_of(folder)][:4] == ["round 1", "round 1", "round 2", "finish"]


@pytest.mark.parametrize(
    ("plateau", "rates"), [("none", (1e-3, 1e-3)), ("kept", (1e-4, 1e-5)), ("reset", (1e-4, 1e-4))]
)
def test_the_rate_on_a_plateau(run, trained, monkeypatch, plateau, rates):
    """Over ten epochs without progress cut the rate to a tenth; the next round goes on with it, or not."""
    pruned, folder = with_rules(run, trained, plateau=plateau, frames=12 * 48)
    script(monkeypatch, [0.5])
    prune(pruned, folder)
    ends = [read_checkpoint(folder / f"round-{number:02}.pt") for number in (1, 2)]
    assert [end["optimiser"]["param_groups"][0]["lr"] for end in ends] == pytest.approx(rates)


def test_rewind_trains_every_round_to_its_end_and_takes_the_rate_back(run, trained, monkeypatch):
    pruned, folder = with_rules(run, trained, policy="rewind", threshold=0.1, frames=96)
    script(monkeypatch, [0.5])
    rates = []
    step = Trainer._step
    monkeypatch.setattr(
        Trainer,
        "_step",
        lambda self, optimiser, *rest: rates.append(optimiser.param_groups[0]["lr"]) or step(self, optimiser, *rest),
    )
    prune(pruned, folder)
    assert [row["stage"] for row in log_of(folder)] == ["round 1"] * 2 + ["round 2"] * 2 + ["finish", "again"]
    assert rates[:24] == rates[24:48] == sorted(rates[:24], reverse=True)
    assert rates[0] == 1e-3
    assert rates[23] < 1e-5


def test_feedback_undoes_a_round_that_fails_and_halves_its_share(run, trained, monkeypatch):
    pruned, folder = with_rules(run, trained, policy="feedback", threshold=0.9, rounds=9, frames=48)
    # Round 1 succeeds with a share of 0.2, 2 fails, 3 with 0.1 succeeds, 4 fails, 5 with 0.05 fails: the end.
    script(monkeypatch, [0.5, 0.5, 0.1, 0.5, 0.1, 0.1, 0.5])
    path = prune(pruned, folder)
    rounds = [read_checkpoint(folder / f"round-{number:02}.pt") for number in range(1, 6)]
    assert not (folder / "round-06.pt").exists()
    left = [float(row["weights_left"]) for row in log_of(folder)]
    expected = [0.8, 0.8 * 0.8, 0.8 * 0.9, 0.8 * 0.9 * 0.9, 0.8 * 0.9 * 0.95, 0.8 * 0.9, 0.8 * 0.9]
    assert left == pytest.approx(expected, abs=2e-3)
    assert [content["pruning"]["share"] for content in rounds] == [0.2, 0.2, 0.1, 0.1, 0.05]
    # What the finish begins with is the network as round 3 left it.
    assert same(read_checkpoint(path)["masks"], rounds[2]["masks"])
    assert same(rounds[4]["pruning"]["kept"]["network"], rounds[2]["network"])


ACCURACY_AT = {0: 0.5, 12: 0.5, 24: 0.1, 36: 0.1, 48: 0.5, 60: 0.1, 72: 0.5, 84: 0.5}  # by batches seen


@pytest.mark.parametrize("policy", ["threshold", "rewind", "feedback"])
def test_a_killed_pruning_goes_on_bit_for_bit(run, trained, monkeypatch, policy):
    """Each life writes two files and dies: within rounds, at their ends, and in the finish."""
    rules = {"policy": policy, "threshold": 0.9, "frames": 96, "plateau": "none" if policy == "rewind" else "kept"}
    pruned, _ = with_rules(run, trained, **rules)
    monkeypatch.setattr(Trainer, "measure", lambda self: ACCURACY_AT.get(self.batches_seen, 0.5))
    whole = read_checkpoint(prune(pruned, trained / f"{policy}-whole"))
    save, saved = Trainer.save, 0

    def save_and_die(self, *arguments):
        nonlocal saved
        save(self, *arguments)
        saved += 1
        if saved % 2 == 0:
            raise Killed

    monkeypatch.setattr(Trainer, "save", save_and_die)
    folder = trained / f"{policy}-killed"
    lives, done = 0, False
    while not done:
        lives += 1
        try:
            prune(pruned, folder, resume=lives > 1)
            done = True
        except Killed:
            assert lives < 20
    assert lives >= 4
    resumed = read_checkpoint(folder / "pruned.pt")
    assert resumed["batches_seen"] == whole["batches_seen"]
    assert same(resumed["network"], whole["network"])
    assert same(resumed["masks"], whole["masks"])


def test_a_pruning_that_goes_on_with_fewer_rounds_ends_with_the_one_at_hand(run, trained, tmp_path):
    two, folder = with_rules(run, trained, policy="rewind", frames=48)
    prune(two, folder)
    (folder / "pruned.pt").write_bytes((folder / "round-02.pt").read_bytes())
    (folder / "round-02.pt").unlink()
    one = replace(two, pruning=replace(two.pruning, rounds=1))
    content = read_checkpoint(prune(one, folder, resume=True))
    assert sorted(path.name for path in folder.glob("round*")) == ["round-01.pt", "round-02.pt"]
    assert content["pruning"]["finish"] == 1


def test_the_log_counts_layers_that_nothing_was_pruned_of(run, trained):
    trainer = Trainer(run, trained / "counted")
    trainer.load_network(Bits(4, 4, 4), None)
    assert trainer.share_left == 1.0
    weights = prunable_weights(trainer.network)
    first, weight = next(iter(weights.items()))
    trainer.masks = {first: torch.zeros_like(weight, dtype=torch.bool)}
    total = sum(other.numel() for other in weights.values())
    assert trainer.share_left == pytest.approx(1 - weight.numel() / total)


def test_a_run_starts_from_what_is_released_where_it_was_not_trained(run, trained, tmp_path, monkeypatch, capsys):
    """The released checkpoint, which lacks the optimiser's state, gives the same network as the run's own."""
    monkeypatch.setattr("training.train.RELEASED", tmp_path / "released")
    path = trained / run.name / "trained.pt"
    assert main(["release", str(path), "--out", str(tmp_path / "released" / "tiny.pt")]) == 0
    assert (tmp_path / "released" / "tiny.pt").stat().st_size < 0.8 * path.stat().st_size
    pruned, _ = with_rules(run, trained, policy="threshold")
    contents = [read_checkpoint(prune(pruned, parent / "pruned")) for parent in (trained, tmp_path)]
    assert same(*(content["network"] for content in contents))
    assert [ancestor["name"] for ancestor in contents[1]["ancestors"]] == ["tiny"]
    assert contents[1]["ancestors"][0]["frames_seen"] == 96 + 192
    assert set(contents[1]["commits"]) == {"prune"}


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (("share: 0.2", "share: 0.2\n  policy: hope"), "the policy 'hope' is unknown; choose one of threshold, "),
        (("share: 0.2", "share: 0.2\n  plateau: maybe"), "plateau 'maybe' is unknown"),
        (("share: 0.2", "share: 0.2\n  plateau: kept\n  policy: rewind"), "the policy rewind sets the rate itself"),
        (("threshold: 2.0", "threshold: 1.2\n  relative: false"), "must lie between 0 and 1"),
        (("share: 0.2", "share: 0.2\n  group: 0"), "group of pruning is 0"),
        (("seed: 3", "seed: 3\nstart: tiny"), "starts from itself"),
        (("seed: 3", "seed: 3\nstart: other"), "other/trained.pt; run the earlier step"),
        (("preset: radioml2018", "preset: simulation"), "no source of the preset radioml2018"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, change, part):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.replace(*change, 1))
    data = ["--data", "file.hdf5"] if "simulation" in change[1] else []
    assert main(["train", str(path), "--runs", str(tmp_path / "runs"), *data]) == 1
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_run_is_pruned_as_it_says_or_not_at_all(run, tmp_path):
    with pytest.raises(TrainingError, match="the run tiny has no pruning"):
        prune(replace(run, pruning=None), tmp_path)
    with pytest.raises(TrainingError, match="the run tiny has no stages to train; prune it"):
        train(replace(run, stages=(), start="other"), tmp_path)


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_a_wider_network_begins_with_what_the_narrow_one_says(run, network):
    narrow = replace(run, network=network, network_options={"filters": 4})
    wide = replace(narrow, network_options={"filters": 7})
    before = build_network(narrow, Bits(), images=True).eval()
    content = {"run": asdict(narrow), "bits": asdict(Bits()), "masks": {}, "network": before.state_dict()}
    after = build_network(wide, Bits(), images=True).eval()
    after.load_state_dict(resized(content, wide)["network"])
    frames = torch.randn(20, 2, 1024, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after(frames), before(frames), rtol=1e-4, atol=1e-5)
    after(frames).square().sum().backward()
    assert any(((weight == 0) & (weight.grad != 0)).any() for weight in prunable_weights(after).values())
    with pytest.raises(TrainingError, match="the network of tiny is pruned, so it cannot have other numbers"):
        resized(content | {"masks": {"features.0": torch.zeros(1, dtype=torch.bool)}}, wide)


def test_longer_filters_and_another_head_begin_with_the_features(run, tmp_path):
    short = replace(run, network="symbol_spaced", network_options={"filters": 4})
    long = replace(run, network="symbol_spaced_hidden", network_options={"filters": 4, "hidden": 8})
    before = build_network(short, Bits(), images=True).eval()
    content = {"run": asdict(short), "bits": asdict(Bits()), "masks": {}, "network": before.state_dict()}
    begun = resized(features_only(content, long), long)["network"]
    assert not any(name.startswith("head") for name in begun)
    trainer = Trainer(long, tmp_path)
    trainer.load_network(Bits(), begun)
    frames = torch.randn(20, 2, 1, 1024, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(trainer.network.eval().features(frames), before.features(frames), rtol=1e-4, atol=1e-5)


NARROW = {"filters": 4, "kernel": 16, "inner": 6}


def test_a_narrower_network_begins_with_what_most_depends_on(run):
    """Filters that nothing depends on are left out: what the network says stays."""
    wide = replace(run, network="symbol_spaced", network_options={"filters": 7, "kernel": 24, "inner": 9})
    before = build_network(wide, Bits(), images=True).eval()
    layers = list(prunable_weights(before))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        before.features[0].weight[..., :4] = before.features[0].weight[..., 20:] = 0
        for layer, reader, stay in zip(layers[:-1], layers[1:], (4, 6, 6, 6, 12), strict=True):
            gone = torch.randperm(len(before.get_submodule(layer).weight), generator=generator)[stay:]
            before.get_submodule(reader).weight[:, gone] = 0
    content = {"run": asdict(wide), "bits": asdict(Bits()), "masks": {}, "network": before.state_dict()}
    narrow = replace(wide, network_options=NARROW)
    after = build_network(narrow, Bits(), images=True).eval()
    after.load_state_dict(resized(content, narrow)["network"])
    frames = torch.randn(20, 2, 1024, generator=generator)
    torch.testing.assert_close(after(frames), before(frames), rtol=1e-4, atol=1e-5)


def test_a_wider_network_of_few_bits_begins_with_what_the_narrow_one_says(run, trained, tmp_path):
    """With the ranges that its activations have learned."""
    content = read_checkpoint(trained / run.name / "trained.pt")
    bits = Bits(**content["bits"])
    assert not bits.is_float
    options = {**run.network_options, "scale_per_filter": True}
    narrow = Trainer(replace(run, network_options=options), tmp_path / "narrow")
    wide = Trainer(replace(run, network_options={**options, "filters": 6}), tmp_path / "wide")
    narrow.load_network(bits, content["network"])
    wide.load_network(bits, resized(content, wide.run)["network"])
    assert [len(weight) for weight in wide.weights.values()][:7] == [6] * 7
    frames = torch.randn(20, 2, 1024, generator=torch.Generator().manual_seed(1))
    ours, theirs = (trainer.network.eval()(frames) for trainer in (wide, narrow))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_networks_whose_filters_do_not_stand_alone_are_not_narrowed(run):
    """Of residual sums and of samples that lie side by side nothing says which filters belong together."""
    for network in ("vgg10", "separable"):
        wide = replace(run, network=network, network_options={"filters": 8})
        state = build_network(wide, Bits(), images=True).state_dict()
        content = {"run": asdict(wide), "bits": asdict(Bits()), "masks": {}, "network": state}
        assert resized(content, replace(wide, network_options={"filters": 4})) is content


def test_a_start_of_another_network(run, trained):
    other = replace(run, name="other", start=run.name, network_options={"filters": 6, "hidden": 8})
    with pytest.raises(TrainingError, match="another network"):
        train(other, trained / "other")
