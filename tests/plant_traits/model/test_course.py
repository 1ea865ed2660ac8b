"""A course taken up again from its state goes on as if nothing had been."""

import pytest
import torch

from data_catalog import ModelSettings
from plant_traits.model.course import Course
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import build_network
from plant_traits.model.resume import pack_state, unpack_state

CONFIGS = {
    "default": NetworkConfig(96, 3, 2, hidden=8, blocks=1, dropout=0.2),
    "planttraitnet-published": NetworkConfig(
        96, 3, 2, hidden=8, blocks=1, dropout=0.2, preset="planttraitnet-published"
    ),
}


def start(config: NetworkConfig) -> Course:
    torch.manual_seed(3)
    return Course.start(build_network(config), ModelSettings(epochs=4, learning_rate=1e-2), steps=3, seed=9)


def take_steps(course: Course, number: int) -> None:
    course.network.train()
    for _ in range(number):
        rows = torch.from_numpy(course.order.normal(size=(10, 99))).float()
        there = torch.rand(10) < 0.8
        location, log_scale = course.network(rows[:, :96], rows[:, 96:], there, there)
        course.optimiser.zero_grad()
        ((location - 1) ** 2 + log_scale**2).mean().backward()
        course.optimiser.step()
        course.schedule.step()


@pytest.mark.parametrize("preset", CONFIGS)
@pytest.mark.parametrize("best_first", [True, False])
def test_it_goes_on_to_the_same_bits(preset: str, best_first: bool) -> None:
    whole = start(CONFIGS[preset])
    if best_first:
        whole.keep_best(2.0)
    take_steps(whole, 5)
    if not best_first:
        whole.keep_best(1.0)
    kept = unpack_state(pack_state(whole.state(finished=False), "k"), "k")
    take_steps(whole, 5)

    again = start(CONFIGS[preset])
    take_steps(again, 1)  # to be overwritten in every part
    again.take_up(kept)
    assert (again.best_epoch, again.best_loss) == (1, 2.0 if best_first else 1.0)
    assert again.learning_rate == pytest.approx(1e-2 * (1 + torch.cos(torch.tensor(torch.pi * 5 / 12)).item()) / 2)
    take_steps(again, 5)
    for ours, theirs in ((again.network.state_dict(), whole.network.state_dict()), (again.best, whole.best)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert again.learning_rate == whole.learning_rate


def test_what_is_kept_does_not_follow_the_network() -> None:
    course = start(CONFIGS["default"])
    course.keep_best(1.0)
    before = {name: tensor.clone() for name, tensor in course.best.items()}
    take_steps(course, 1)
    assert all(torch.equal(course.best[name], before[name]) for name in before)


def test_a_finished_state_holds_the_result_alone() -> None:
    course = start(CONFIGS["default"])
    take_steps(course, 1)
    course.keep_best(1.0)
    state = course.state(finished=True)
    assert {name.partition(".")[0] for name in state.tensors} == {"best"}
    assert sorted(state.values) == ["best_epoch", "best_loss", "history"]
