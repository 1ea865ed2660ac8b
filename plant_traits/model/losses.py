"""Likelihoods with a predicted scale: masked negative log-likelihoods, and the variance that a log-scale stands for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_SCALE_LIMIT = 5.0
"""Log-scales are clamped to plus or minus this, in training and in prediction alike [PlantTraitNet]."""


def clamp_log_scale(log_scale: Tensor) -> Tensor:
    """Clamp a log-scale to [-5, 5]."""
    return log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)


def gaussian_nll(target: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Return ½(s + (y - μ)² / eˢ) + ½ ln 2π element by element, with the variance eˢ and s clamped to [-5, 5]."""
    s = clamp_log_scale(log_scale)
    return 0.5 * (s + (target - location) ** 2 * torch.exp(-s)) + 0.5 * math.log(2 * math.pi)


def laplace_nll(target: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Return s + |y - μ| / eˢ + ln 2 element by element, with the scale b = eˢ and s clamped to [-5, 5]."""
    s = clamp_log_scale(log_scale)
    return s + (target - location).abs() * torch.exp(-s) + math.log(2)


def masked_nll(target: Tensor, location: Tensor, log_scale: Tensor, laplace: Tensor) -> Tensor:
    """Average the negative log-likelihood over the observed entries.

    Args:
        target: (n, traits), NaN where a trait is not observed; NaN entries give neither loss nor gradient.
        location: (n, traits).
        log_scale: (n, traits).
        laplace: (traits,) boolean, true where the trait's likelihood is Laplace, false for Gaussian.

    Returns:
        The scalar mean over observed entries; zero where nothing is observed.
    """
    total, observed = masked_nll_total(target, location, log_scale, laplace)
    return total / observed.clamp(min=1)


def masked_nll_total(target: Tensor, location: Tensor, log_scale: Tensor, laplace: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the negative log-likelihood over the observed entries, and how many they are, both scalars.

    Args:
        target: as in ``masked_nll``, and likewise the others.
        location: (n, traits).
        log_scale: (n, traits).
        laplace: (traits,).
    """
    observed = ~torch.isnan(target)
    safe = torch.where(observed, target, location.detach())
    each = torch.where(laplace, laplace_nll(safe, location, log_scale), gaussian_nll(safe, location, log_scale))
    return torch.where(observed, each, torch.zeros_like(each)).sum(), observed.sum()


def variance_from_log_scale(log_scale: Tensor, laplace: Tensor) -> Tensor:
    """Return the variance a log-scale stands for: eˢ for a Gaussian, 2 e²ˢ for a Laplace likelihood."""
    s = clamp_log_scale(log_scale)
    return torch.where(laplace, 2 * torch.exp(2 * s), torch.exp(s))
