# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps written for speed against Brevitas' quantiser and torch's pooling: values, and what flows back."""

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'training'")

from brevitas.core.function_wrapper import Identity  # noqa: E402
from brevitas.core.quant import IntQuant  # noqa: E402

from training.steps import FusedIntQuant, PairMaxPool  # noqa: E402


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
