# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps written for speed against Brevitas' quantiser and torch's pooling: values, and what flows back."""

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'training'")

from brevitas.core.function_wrapper import Identity  # noqa: E402
from brevitas.core.quant import IntQuant  # noqa: E402
from brevitas.nn import QuantReLU  # noqa: E402
from brevitas.quant import Uint8ActPerTensorFloat  # noqa: E402

from training.steps import Features, FusedIntQuant, PairMaxPool  # noqa: E402


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_quantiser_is_that_of_brevitas(signed, bits):
    torch.manual_seed(bits)
    values, upstream = torch.randn(2, 8, 6, 1, 16)
    found = []
    for kind in (IntQuant, FusedIntQuant):
        quantise = kind(narrow_range=False, signed=signed, input_view_impl=Identity())
        leaf, scale = values.clone().requires_grad_(), torch.tensor(2.0 / 2**bits, requires_grad=True)
        result = quantise(scale, torch.tensor(0.0), torch.tensor(float(bits)), leaf)
        (result * upstream).sum().backward()
        found.append((result.detach(), leaf.grad, scale.grad))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=0)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=0, atol=0)
    torch.testing.assert_close(found[1][2], found[0][2], rtol=1e-5, atol=1e-5)
    assert 0 < int((found[0][1] == 0).sum()) < values.numel()


def test_the_pooling_is_that_of_torch():
    torch.manual_seed(1)
    values = torch.randn(4, 6, 1, 32).to(memory_format=torch.channels_last)
    upstream = torch.randn(4, 6, 1, 16)
    found = []
    for pool in (torch.nn.MaxPool2d((1, 2)), PairMaxPool()):
        leaf = values.clone().requires_grad_()
        result = pool(leaf)
        (result * upstream).sum().backward()
        found.append((result.detach(), leaf.grad))
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_where_two_samples_are_alike_one_of_them_gets_the_whole_gradient():
    leaf = torch.ones(1, 2, 1, 4, requires_grad=True)
    PairMaxPool()(leaf).sum().backward()
    assert leaf.grad.reshape(2, 2, 2).sum(2).eq(1).all()
    assert sorted(set(leaf.grad.flatten().tolist())) == [0.0, 1.0]


SETTLED_AFTER = 1  # batches, of which the QuantReLU takes its range


def learned(pooled, dtype, as_one):
    """What two batches leave behind: the values of the second, and all that they teach."""
    torch.manual_seed(3)
    normalisation = torch.nn.BatchNorm2d(8, momentum=0.25)
    # One of them turns the order of the samples around.
    torch.nn.init.uniform_(normalisation.weight, -0.5, 2)
    torch.nn.init.uniform_(normalisation.bias, -0.5, 0.5)
    rectifier = QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4, collect_stats_steps=SETTLED_AFTER)
    features = Features(normalisation, *([PairMaxPool()] if pooled else []), rectifier)
    for kind in (*[torch.float32] * SETTLED_AFTER, dtype):
        features.zero_grad()
        values = (2 * torch.randn(6, 8, 1, 64) + torch.linspace(-4, 4, 8)[:, None, None]).to(kind)
        leaf = values.to(memory_format=torch.channels_last).requires_grad_()
        layers = [features] if as_one else features
        result = leaf if as_one else leaf.float()
        for layer in layers:
            result = layer(result)
        # Of each sample by where it is, and not in the memory order of images.
        (result * torch.randn(result.shape).to(kind)).sum().backward()
    assert (normalisation.weight < 0).any() and 0 < int((result == result.max()).sum()) < result.numel()
    return [
        result.detach(),
        leaf.grad,
        *(parameter.grad for parameter in features.parameters()),
        normalisation.running_mean,
        normalisation.running_var,
        normalisation.num_batches_tracked,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pooled", [True, False])
def test_normalisation_pooling_and_quantiser_in_one_teach_what_they_do_apart(pooled, dtype):
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    for ours, theirs in zip(learned(pooled, dtype, True), learned(pooled, dtype, False), strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=tolerance, atol=tolerance)


def test_a_filter_that_has_lost_all_its_weights_teaches_nothing_wrong():
    normalisation = torch.nn.BatchNorm2d(1024)
    # Where the means of its values were before they were all zero.
    torch.nn.init.uniform_(normalisation.running_mean, 30, 100)
    rectifier = QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4, collect_stats_steps=SETTLED_AFTER)
    rectifier(torch.rand(2, 1024, 1, 4))
    leaf = torch.zeros(7, 1024, 1, 33).to(memory_format=torch.channels_last).requires_grad_()
    made = Features(normalisation, rectifier)(leaf)
    made.sum().backward()
    for found in (made, leaf.grad, normalisation.weight.grad, normalisation.running_var):
        assert found.isfinite().all()


def test_a_network_that_is_measured_is_not_changed():
    normalisation = torch.nn.BatchNorm2d(2)
    rectifier = QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4, collect_stats_steps=SETTLED_AFTER)
    features = Features(normalisation, rectifier).eval()
    values = torch.randn(3, 2, 1, 4).to(memory_format=torch.channels_last)
    torch.testing.assert_close(features(values), rectifier(normalisation(values)), rtol=0, atol=0)
    assert not normalisation.num_batches_tracked
