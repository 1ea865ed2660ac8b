"""Losses on cosine logits for long-tailed classes: TaxoNet's dual margin, and what it is compared with.

All take cosines z between an embedding and the k class vectors, (n, k), and labels, and share one scale s. At
prediction the largest plain cosine names the class, for all of them alike; ``log_posteriors`` undoes nothing: it gives
the posterior under the training frequencies that the loss was fitted to, margins of the target class left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.priors import BETA, base_margins, effective_numbers, effective_priors

SCALE = 32.0
MARGIN = 0.15
REGULARISATION = 5.0
SMALLEST_GAMMA = math.log(math.e - 1)
"""γ whose softplus is 1, the least ζ."""

LossName = Literal["cross_entropy", "am_softmax", "ldam", "logit_adjustment", "class_balanced", "dual_margin"]


class CosineLoss(nn.Module):
    """Cross-entropy of s(z - shift), with a further margin on the target's cosine and a weight per class.

    Attributes:
        scale: s.
    """

    target_margin: Tensor
    class_weight: Tensor

    def __init__(self, classes: int, scale: float = SCALE) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("target_margin", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("class_weight", torch.ones(classes, dtype=torch.float64))

    def shifts(self) -> Tensor:
        """Return what is taken from every class's cosine, (k,)."""
        return torch.zeros_like(self.target_margin)

    def penalty(self) -> Tensor:
        """Return what is added to the mean loss."""
        return self.target_margin.new_zeros(())

    def forward(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            cosines: (n, k).
            labels: (n,) integer classes.
        """
        adjusted = cosines - self.shifts().to(cosines.dtype)
        target = functional.one_hot(labels, cosines.shape[1]).to(cosines.dtype)
        logits = self.scale * (adjusted - target * self.target_margin.to(cosines.dtype))
        each = functional.cross_entropy(logits, labels, reduction="none")
        weight = self.class_weight.to(cosines.dtype)[labels]
        return (each * weight).sum() / weight.sum() + self.penalty().to(cosines.dtype)

    def log_posteriors(self, cosines: Tensor) -> Tensor:
        """Return the logarithm of the classes' posteriors under the training frequencies, (n, k)."""
        return functional.log_softmax(self.scale * (cosines - self.shifts().to(cosines.dtype)), dim=1)


class CrossEntropy(CosineLoss):
    """Plain cross-entropy of s z."""


class AmSoftmax(CosineLoss):
    """Cross-entropy with the margin m taken from the target's cosine [Wang et al. 2018]."""

    def __init__(self, classes: int, margin: float = MARGIN, scale: float = SCALE) -> None:
        super().__init__(classes, scale)
        self.target_margin.fill_(margin)


class Ldam(CosineLoss):
    """Cross-entropy with the target margin proportional to N^(-1/4), the rarest class's being the largest [Cao 2019].

    Args:
        counts: (k,) training photos.
        largest: margin of the rarest class.
        scale: s.
    """

    def __init__(self, counts: npt.ArrayLike, largest: float = 0.5, scale: float = SCALE) -> None:
        n = _counts(counts)
        super().__init__(len(n), scale)
        self.target_margin.copy_(torch.from_numpy(largest * (n.min() / n) ** 0.25))


class LogitAdjustment(CosineLoss):
    """Cross-entropy of s z + τ ln π, with the training frequencies π [Menon et al. 2021].

    Args:
        counts: (k,) training photos.
        tau: τ.
        scale: s.
    """

    offset: Tensor

    def __init__(self, counts: npt.ArrayLike, tau: float = 1.0, scale: float = SCALE) -> None:
        n = _counts(counts)
        super().__init__(len(n), scale)
        self.register_buffer("offset", torch.from_numpy(-tau * np.log(n / n.sum()) / scale))

    def shifts(self) -> Tensor:
        """Return -τ ln π / s, (k,)."""
        return self.offset


class ClassBalanced(CosineLoss):
    """Cross-entropy with each photo weighted by the inverse of its class's effective number [Cui et al. 2019].

    Args:
        counts: (k,) training photos.
        beta: of the effective numbers.
        scale: s.
    """

    def __init__(self, counts: npt.ArrayLike, beta: float = 0.999, scale: float = SCALE) -> None:
        weight = 1 / effective_numbers(counts, beta)
        super().__init__(len(weight), scale)
        self.class_weight.copy_(torch.from_numpy(weight / weight.mean()))


class DualMargin(CosineLoss):
    """TaxoNet's loss: a margin m on the target, and class margins Δ̃ on all classes, with learnable power scaling.

    Δ̃ = m (Δ/m)^ζ with ζ = softplus(γ) of at least 1; the loss is the cross-entropy of s(z_y - m - Δ̃_y) for the target
    and s(z_k - Δ̃_k) for the others, plus λ Σ (Δ - Δ̃)² [arXiv 2512.18994; the sign of Δ̃ is that of its text]. With ζ = 1
    it is AM-Softmax on logits adjusted by the effective priors.

    Where photos of one species look like those of others, a target margin of several logits saturates the loss, and the
    class margins have little effect: there the target's is better set by itself, which is not in the publication.

    Args:
        counts: (k,) training photos.
        margin: m, of the classes and of the target.
        target_margin: of the target, where it is to be another.
        beta: of the effective numbers in the priors.
        regularisation: λ.
        gamma: where γ starts.
        learnable: whether γ is learned; otherwise ζ stays what γ says.
        priors: (k,) in place of the effective priors.
        scale: s.
    """

    base: Tensor

    def __init__(
        self,
        counts: npt.ArrayLike,
        *,
        margin: float = MARGIN,
        target_margin: float | None = None,
        beta: float = BETA,
        regularisation: float = REGULARISATION,
        gamma: float = 1.0,
        learnable: bool = True,
        priors: npt.ArrayLike | None = None,
        scale: float = SCALE,
    ) -> None:
        n = _counts(counts)
        super().__init__(len(n), scale)
        self.margin = margin
        self.regularisation = regularisation
        self.target_margin.fill_(margin if target_margin is None else target_margin)
        of_classes = effective_priors(n, beta) if priors is None else np.asarray(priors, dtype=np.float64)
        self.register_buffer("base", torch.from_numpy(base_margins(of_classes, margin)))
        self.gamma = nn.Parameter(torch.tensor(gamma, dtype=torch.float64), requires_grad=learnable)

    def zeta(self) -> Tensor:
        """Return ζ, at least 1; below that γ has no gradient through it, and ``keep_in_range`` brings it back."""
        return functional.softplus(self.gamma.clamp(min=SMALLEST_GAMMA))

    def keep_in_range(self) -> None:
        """Set γ to its least value where a step has taken it below."""
        with torch.no_grad():
            self.gamma.clamp_(min=SMALLEST_GAMMA)

    def shifts(self) -> Tensor:
        """Return Δ̃, (k,)."""
        positive = self.base > 0  # 0 to any power is 0, and has no logarithm for the gradient
        ratio = torch.where(positive, self.base / self.margin, torch.ones_like(self.base))
        return torch.where(positive, self.margin * ratio ** self.zeta(), torch.zeros_like(self.base))

    def penalty(self) -> Tensor:
        """Return λ Σ (Δ - Δ̃)²."""
        return self.regularisation * ((self.base - self.shifts()) ** 2).sum()


def make_loss(name: LossName, counts: npt.ArrayLike, settings: Mapping[str, float] | None = None) -> CosineLoss:
    """Make a loss by its name.

    Args:
        name: which.
        counts: (k,) training photos of each class.
        settings: further arguments of its class.

    Raises:
        ModelError: the name or a setting is unknown, or a count is below 1.
    """
    n = _counts(counts)
    makers: dict[str, Callable[..., CosineLoss]] = {
        "cross_entropy": lambda **more: CrossEntropy(len(n), **more),
        "am_softmax": lambda **more: AmSoftmax(len(n), **more),
        "ldam": lambda **more: Ldam(n, **more),
        "logit_adjustment": lambda **more: LogitAdjustment(n, **more),
        "class_balanced": lambda **more: ClassBalanced(n, **more),
        "dual_margin": lambda **more: DualMargin(n, **more),
    }
    if name not in makers:
        raise ModelError(f"loss of names: expected one of {', '.join(makers)}, found {name!r}")
    try:
        return makers[name](**(settings or {}))
    except TypeError as error:
        raise ModelError(f"loss {name!r}: unknown settings among {sorted(settings or {})}: {error}") from error


def _counts(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or not n.size or not (n >= 1).all():
        raise ModelError(f"loss of names: expected a training photo or more of each class, found {counts!r}")
    return n
