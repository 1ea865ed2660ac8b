"""What training hides and blurs of its inputs, so that a network learns to do with any part of them."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_modalities(has_image: Tensor, has_place: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Hide the photo or the place of a share of the records that have both, each half of the time.

    Draws from torch's generator of the device.

    Args:
        has_image: (n,) boolean, whether there is a photo.
        has_place: (n,) boolean, whether there is a place.
        share: of the records with both.

    Returns:
        The two, with what is hidden set to false; a record that has any input keeps one.
    """
    chance = torch.rand(len(has_image), device=has_image.device)
    both = has_image & has_place
    return has_image & ~(both & (chance < share / 2)), has_place & ~(both & (chance > 1 - share / 2))


def perturb_covariates(place: Tensor, noise: float, dropout: float) -> Tensor:
    """Blur standardised covariates and hide some: places are few, and their exact values identify them.

    Draws from torch's generator of the device.

    Args:
        place: (n, covariates), NaN where missing.
        noise: standard deviation of what is added.
        dropout: share of the values that become NaN.
    """
    if noise > 0:
        place = place + noise * torch.randn_like(place)
    if dropout > 0:
        place = torch.where(torch.rand_like(place) < dropout, torch.nan, place)
    return place
