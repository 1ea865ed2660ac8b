import math

import pytest
import torch

from plant_traits.model.losses import (
    clamp_log_scale,
    gaussian_nll,
    laplace_nll,
    masked_nll,
    variance_from_log_scale,
)

Y = torch.tensor([0.3, -1.2, 2.5, 0.0], dtype=torch.float64)
MU = torch.tensor([0.1, 0.4, -2.0, 0.0], dtype=torch.float64)
S = torch.tensor([-3.0, 0.0, 1.5, 4.9], dtype=torch.float64)


def test_gaussian_equals_torch_distributions() -> None:
    expected = -torch.distributions.Normal(MU, torch.exp(0.5 * S)).log_prob(Y)
    torch.testing.assert_close(gaussian_nll(Y, MU, S), expected)


def test_laplace_equals_torch_distributions() -> None:
    expected = -torch.distributions.Laplace(MU, torch.exp(S)).log_prob(Y)
    torch.testing.assert_close(laplace_nll(Y, MU, S), expected)


def test_variances_equal_torch_distributions() -> None:
    laplace = torch.tensor([False, True])
    s = torch.tensor([[0.7, 0.7], [-2.0, -2.0]])
    expected = torch.stack(
        [
            torch.distributions.Normal(0.0, torch.exp(0.5 * s[:, 0])).variance,
            torch.distributions.Laplace(0.0, torch.exp(s[:, 1])).variance,
        ],
        dim=1,
    )
    torch.testing.assert_close(variance_from_log_scale(s, laplace), expected)


def test_log_scale_is_clamped_in_loss_and_variance() -> None:
    far = torch.tensor([9.0, -9.0])
    assert clamp_log_scale(far).tolist() == [5.0, -5.0]
    zero, one = torch.zeros(2), torch.ones(2)
    assert gaussian_nll(one, zero, far).tolist() == gaussian_nll(one, zero, torch.tensor([5.0, -5.0])).tolist()
    assert variance_from_log_scale(far, torch.tensor([True, False])).tolist() == pytest.approx(
        [2 * math.exp(10), math.exp(-5)]
    )


def test_missing_targets_give_neither_loss_nor_gradient() -> None:
    target = torch.tensor([[1.0, math.nan], [math.nan, math.nan]])
    location = torch.zeros(2, 2, requires_grad=True)
    log_scale = torch.zeros(2, 2, requires_grad=True)
    loss = masked_nll(target, location, log_scale, torch.tensor([False, True]))
    assert loss.item() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi))
    loss.backward()
    assert location.grad.tolist() == [[-1.0, 0.0], [0.0, 0.0]]
    assert log_scale.grad[0, 1] == 0


def test_nothing_observed_is_zero() -> None:
    nothing = torch.full((2, 1), math.nan)
    assert masked_nll(nothing, torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([False])).item() == 0.0
