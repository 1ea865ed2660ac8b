"""Losses of names: TaxoNet's pinned vectors, equalities between the losses, an oracle for each, bad input."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.losses import (
    SMALLEST_GAMMA,
    AmSoftmax,
    ClassBalanced,
    CosineLoss,
    CrossEntropy,
    DualMargin,
    Ldam,
    LogitAdjustment,
    make_loss,
)
from plant_traits.taxa.taxonet.priors import effective_priors

COUNTS = (1000, 100, 10, 1)
COSINES = torch.tensor([[0.60, 0.35, 0.30, 0.55]], dtype=torch.float64)
NAMES = ("cross_entropy", "am_softmax", "ldam", "logit_adjustment", "class_balanced", "dual_margin")


def some(n: int, k: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand((n, k), generator=generator, dtype=torch.float64) - 1
    return cosines, torch.randint(0, k, (n,), generator=generator)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.19299408), (3, 11.20010402)])
def test_the_pinned_loss_without_power_scaling(label: int, expected: float) -> None:
    loss = DualMargin(COUNTS, gamma=SMALLEST_GAMMA)
    assert loss.zeta().item() == pytest.approx(1.0, abs=1e-15)
    assert loss(COSINES, torch.tensor([label])).item() == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.19812751), (3, 11.20015539)])
def test_the_pinned_loss_with_power_scaling(label: int, expected: float) -> None:
    loss = DualMargin(COUNTS, gamma=1.0)
    assert loss.zeta().item() == pytest.approx(1.313262, abs=5e-7)
    np.testing.assert_allclose(loss.shifts().detach(), [0, 0.02962264, 0.0548181, 0.15], atol=5e-9)
    assert loss.penalty().item() == pytest.approx(5 * 0.0004172056, abs=5e-10)
    penalised = loss(COSINES, torch.tensor([label])).item()
    assert penalised - loss.penalty().item() == pytest.approx(expected, abs=5e-9)
    unpenalised = DualMargin(COUNTS, gamma=1.0, regularisation=0.0)
    assert unpenalised(COSINES, torch.tensor([label])).item() == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(("label", "expected"), [(0, 3.24187030), (3, 6.40206262)])
def test_the_pinned_am_softmax(label: int, expected: float) -> None:
    assert float(AmSoftmax(4)(COSINES, torch.tensor([label]))) == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize("seed", range(5))
def test_without_power_scaling_it_is_am_softmax_on_adjusted_logits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 2000, 30)
    cosines, labels = some(64, 30, seed)
    # Δ is m / span times -ln ρ̃, up to a constant that a softmax does not see: logits are adjusted by τ ln ρ̃.
    log_priors = np.log(effective_priors(counts))
    tau = 32 * 0.15 / np.ptp(log_priors)
    adjusted = cosines + torch.from_numpy(tau * log_priors / 32)
    expected = AmSoftmax(30)(adjusted, labels)
    found = DualMargin(counts, gamma=SMALLEST_GAMMA)(cosines, labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)


def test_power_scaling_never_falls_below_one_and_is_brought_back() -> None:
    loss = DualMargin(COUNTS, gamma=-3.0)
    assert loss.zeta().item() == pytest.approx(1.0, abs=1e-15)
    loss.keep_in_range()
    assert loss.gamma.item() == pytest.approx(math.log(math.e - 1), abs=1e-15)
    loss(COSINES, torch.tensor([3])).backward()
    assert loss.gamma.grad is not None and torch.isfinite(loss.gamma.grad)


def test_the_gradient_of_gamma_is_that_of_differences() -> None:
    cosines, labels = some(20, 4)
    loss = DualMargin(COUNTS, gamma=1.2)
    loss(cosines, labels).backward()
    step = 1e-6
    up, down = (DualMargin(COUNTS, gamma=1.2 + d)(cosines, labels).item() for d in (step, -step))
    assert loss.gamma.grad is not None
    assert float(loss.gamma.grad) == pytest.approx((up - down) / (2 * step), rel=1e-6)
    fixed = DualMargin(COUNTS, learnable=False)
    assert [p for p in fixed.parameters() if p.requires_grad] == []


def oracle(name: str, cosines: np.ndarray, labels: np.ndarray, n: np.ndarray) -> float:
    """Return the mean loss, row by row, from the published formula."""
    total, weights = 0.0, 0.0
    effective = (1 - 0.999**n) / (1 - 0.999)
    for z, y in zip(cosines, labels, strict=True):
        logits, weight = 32 * z, 1.0
        if name == "am_softmax":
            logits[y] -= 32 * 0.15
        elif name == "ldam":
            logits[y] -= 32 * 0.5 * (n.min() / n[y]) ** 0.25
        elif name == "logit_adjustment":
            logits = logits + np.log(n / n.sum())
        elif name == "class_balanced":
            weight = 1 / effective[y]
        total += weight * (np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[y])
        weights += weight
    return total / weights


@pytest.mark.parametrize("name", NAMES[:-1])
def test_baselines_agree_with_their_formulas(name: str) -> None:
    n = np.array([1000.0, 100, 30, 10, 1])
    cosines, labels = some(40, 5, seed=3)
    found = float(make_loss(name, n)(cosines, labels))  # type: ignore[arg-type]
    assert found == pytest.approx(oracle(name, cosines.numpy().copy(), labels.numpy(), n), rel=1e-12)


def test_posteriors_are_under_the_training_frequencies() -> None:
    cosines, _ = some(10, 4)
    plain = functional.log_softmax(32 * cosines, dim=1)
    for same in (CrossEntropy(4), AmSoftmax(4), Ldam(COUNTS), ClassBalanced(COUNTS)):
        torch.testing.assert_close(same.log_posteriors(cosines), plain)
    adjusted = LogitAdjustment(COUNTS).log_posteriors(cosines).exp()
    expected = plain.exp() * torch.tensor(COUNTS) / (plain.exp() * torch.tensor(COUNTS)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(adjusted, expected)
    dual = DualMargin(COUNTS, gamma=1.0).log_posteriors(cosines).detach()
    shift = torch.tensor([0, 0.02962264, 0.0548181, 0.15], dtype=torch.float64)
    torch.testing.assert_close(dual, functional.log_softmax(32 * (cosines - shift), dim=1), atol=1e-6, rtol=0)


def test_all_losses_agree_on_equal_classes_without_margins() -> None:
    cosines, labels = some(16, 3)
    expected = float(functional.cross_entropy(32 * cosines, labels))
    equal = (5, 5, 5)
    same: list[CosineLoss] = [CrossEntropy(3), AmSoftmax(3, margin=0.0), Ldam(equal, largest=0.0)]
    same += [LogitAdjustment(equal), ClassBalanced(equal)]
    for loss in same:
        assert float(loss(cosines, labels)) == pytest.approx(expected, abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ModelError, match="expected one of cross_entropy"):
        make_loss("focal", COUNTS)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="unknown settings among \\['tau'\\]"):
        make_loss("ldam", COUNTS, {"tau": 1.0})
    for counts in ((), (3, 0), (3, math.nan), ((1, 2), (3, 4))):
        with pytest.raises(ModelError, match="training photo or more"):
            make_loss("cross_entropy", counts)


def test_without_a_target_margin_it_is_logit_adjustment_by_the_priors() -> None:
    counts = np.array([1000, 100, 10, 1])
    cosines = torch.tensor([[0.60, 0.35, 0.30, 0.55], [0.1, -0.2, 0.9, 0.4]], dtype=torch.float64)
    labels = torch.tensor([3, 1])
    loss = DualMargin(
        counts, margin=0.3, target_margin=0.0, gamma=SMALLEST_GAMMA, learnable=False, priors=counts / counts.sum()
    )
    tau = 0.3 * 32 / np.log(1000)  # the margins reach from 0 to 0.3, and ln(prior) over ln(1000)
    other = LogitAdjustment(counts, tau=tau)
    assert loss(cosines, labels).item() == pytest.approx(other(cosines, labels).item(), abs=1e-9)
    assert DualMargin(counts, margin=0.3)(cosines, labels).item() > loss(cosines, labels).item()
