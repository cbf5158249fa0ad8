"""Corruption of inputs: of the size that was asked for, the same for the same key, and of nothing unasked."""

from __future__ import annotations

import pytest
import torch

from satae.config import CorruptSettings
from satae.training.corrupt import corrupt

SCALES = torch.tensor([0.1, 1.0, 50.0])[:, None, None]


def tiles() -> tuple[torch.Tensor, torch.Tensor]:
    """Three channels of very different scales."""
    x = torch.randn(8, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * SCALES + 7
    return x, torch.ones(8, 1, 40, 40)


def test_nothing_is_done_unasked():
    x, valid = tiles()
    assert corrupt(x, valid, CorruptSettings(), (0,)) is x


def test_the_same_key_gives_the_same_and_another_other_draws():
    x, valid = tiles()
    how = CorruptSettings(gaussian=0.3, masking=0.1, salt=0.1)
    torch.manual_seed(1)
    one = corrupt(x, valid, how, (0, 7, 2, 3))
    torch.manual_seed(2)
    assert torch.equal(one, corrupt(x, valid, how, (0, 7, 2, 3)))
    assert not torch.equal(one, corrupt(x, valid, how, (0, 7, 2, 4)))


def test_what_torch_draws_next_is_as_if_nothing_had_been_corrupted():
    x, valid = tiles()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    corrupt(x, valid, CorruptSettings(gaussian=0.3, masking=0.1, salt=0.1), (0,))
    assert torch.equal(torch.rand(3), expected)


def test_noise_is_in_units_of_each_channel():
    x, valid = tiles()
    noise = (corrupt(x, valid, CorruptSettings(gaussian=0.5), (0,)) - x).double()
    assert noise.std(dim=(0, 2, 3)).numpy() == pytest.approx(0.5 * SCALES.flatten().numpy(), rel=0.03)
    assert (noise.mean(dim=(0, 2, 3)) / SCALES.flatten()).abs().max() < 0.02


def test_masking_puts_so_many_numbers_to_0():
    x, valid = tiles()
    changed = corrupt(x, valid, CorruptSettings(masking=0.3), (0,))
    hit = changed != x
    assert float(hit.float().mean()) == pytest.approx(0.3, abs=0.01) and (changed[hit] == 0).all()


def test_salt_and_pepper_are_the_ends_of_each_channel():
    x, valid = tiles()
    changed = corrupt(x, valid, CorruptSettings(salt=0.2), (0,))
    for channel in range(3):
        here, low, high = changed[:, channel], x[:, channel].min(), x[:, channel].max()
        for end in (low, high):
            assert float((here == end).float().mean()) == pytest.approx(0.1, abs=0.01)
        rest = (here != low) & (here != high)
        assert torch.equal(here[rest], x[:, channel][rest])


def test_what_lies_under_the_mask_has_no_say_in_the_scales():
    x, valid = tiles()
    valid[..., :10] = 0
    wild = torch.where(valid > 0.5, x, 1e9)
    how = CorruptSettings(gaussian=0.3, salt=0.1)
    one, other = (corrupt(z, valid, how, (0,)) for z in (x, wild))
    good = (valid > 0.5).expand_as(x)
    assert torch.equal(one[good], other[good])


def test_a_batch_without_a_valid_pixel_stays_finite():
    x, valid = tiles()
    assert corrupt(x, 0 * valid, CorruptSettings(gaussian=1, salt=0.5), (0,)).isfinite().all()
