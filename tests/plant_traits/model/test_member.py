"""One member: resumed after any interruption to the same bits, with what each epoch came to, in either precision."""

import logging
import runpy
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.model.member import TrainedMember
from plant_traits.model.network_presets import fit_scalings
from plant_traits.model.sampling import sampling_weights

PROCESS = Path(__file__).with_name("training_process.py")
small = runpy.run_path(str(PROCESS))
SETTINGS, train_small, Interrupted = small["SETTINGS"], small["train_small"], small["Interrupted"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed() -> TrainedMember:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = train_small()
    torch.set_num_threads(before)
    return trained


def assert_same(found: TrainedMember, expected: TrainedMember) -> None:
    ours, theirs = found.network.state_dict(), expected.network.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert found.best_epoch == expected.best_epoch
    assert found.history == expected.history


def interrupt_after(epoch: int, calls: list[int]) -> object:
    def progress(done: int, planned: int, scores: dict[str, float]) -> None:
        calls.append(done - 5)  # the second member's first epoch is the sixth
        if done - 5 == epoch:
            raise Interrupted

    return progress


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
def test_interrupted_after_any_epoch_it_ends_the_same(epoch: int, tmp_path: Path, undisturbed: TrainedMember) -> None:
    with pytest.raises(Interrupted):
        train_small(tmp_path, progress=interrupt_after(epoch, []))
    torch.manual_seed(123)  # whatever the new process did before
    calls: list[int] = []
    assert_same(train_small(tmp_path, progress=interrupt_after(0, calls)), undisturbed)
    assert calls == list(range(epoch, 6))  # where it resumed, and the epochs that were left


def test_interrupted_after_every_epoch_it_ends_the_same(tmp_path: Path, undisturbed: TrainedMember) -> None:
    for epoch in (1, 2, 3, 4):
        with pytest.raises(Interrupted):
            train_small(tmp_path, progress=interrupt_after(epoch, []))
    assert_same(train_small(tmp_path), undisturbed)


def test_a_best_epoch_before_the_last_is_remembered(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 0.4, "batch_size": 16, "epochs": 10, "patience": 3})
    whole = train_small(settings=settings, member=0)
    losses = [scores.held_out_loss for scores in whole.history]
    assert sum(later > earlier for earlier, later in pairwise(losses)) >= 2
    assert whole.best_epoch == int(np.argmin(losses)) + 1 < len(losses)
    for epoch in range(1, len(losses)):
        with pytest.raises(Interrupted):
            train_small(tmp_path, settings=settings, member=0, progress=interrupt_after(epoch - 5, []))
    assert_same(train_small(tmp_path, settings=settings, member=0), whole)


def test_a_refit_of_a_given_number_of_epochs_resumes(tmp_path: Path) -> None:
    whole = train_small(fixed_epochs=4)
    assert whole.best_epoch == len(whole.history) == 4
    assert {scores.round for scores in whole.history} == {"refit"}
    with pytest.raises(Interrupted):
        train_small(tmp_path, fixed_epochs=4, progress=interrupt_after(12, []))  # behind both first rounds
    assert_same(train_small(tmp_path, fixed_epochs=4), whole)


def test_a_refit_of_another_number_of_epochs_is_another_training(tmp_path: Path) -> None:
    assert len(train_small(tmp_path, fixed_epochs=2).history) == 2
    assert_same(train_small(tmp_path, fixed_epochs=3), train_small(fixed_epochs=3))


@pytest.mark.parametrize(("where", "number"), [("--labels", 2), ("--replacing", 4)])
def test_killed_it_ends_the_same(where: str, number: int, tmp_path: Path, undisturbed: TrainedMember) -> None:
    """In the middle of the third epoch, and with the state of the fourth written aside and not yet in its place."""
    process = subprocess.Popen(
        [sys.executable, str(PROCESS), str(tmp_path), where, str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    process.kill()
    _, errors = process.communicate()
    assert said == "waiting\n", errors
    assert process.returncode == -9
    assert len(list(tmp_path.glob("*.part"))) == (where == "--replacing")
    calls: list[int] = []
    assert_same(train_small(tmp_path, progress=interrupt_after(0, calls)), undisturbed)
    assert calls == ([2, 3, 4, 5] if where == "--labels" else [3, 4, 5])


def test_a_finished_member_is_not_trained_again(
    tmp_path: Path, undisturbed: TrainedMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_small(tmp_path)
    monkeypatch.setattr("plant_traits.model.member._train_epoch", None)
    assert_same(train_small(tmp_path), undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": SETTINGS.model_copy(update={"learning_rate": 4e-3})},
        {"settings": SETTINGS.model_copy(update={"seed": 2})},
        {"data_seed": 7},
        {"n_stopping": 59},
    ],
)
def test_a_state_of_another_training_is_left_aside(
    change: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = train_small(**change)
    with pytest.raises(Interrupted):
        train_small(tmp_path, progress=interrupt_after(2, []))
    with caplog.at_level(logging.WARNING):
        assert_same(train_small(tmp_path, **change), expected)
    assert "is ignored: it is of a training with other data, settings or software" in caplog.text


def test_members_and_rounds_share_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for member, fixed in ((0, None), (1, None), (1, 3)):
        train_small(tmp_path, member=member, fixed_epochs=fixed)
    assert sorted(path.name.partition(".")[0] for path in tmp_path.iterdir()) == [
        "member-0-first", "member-1-first", "member-1-refit",
    ]  # fmt: skip
    assert not caplog.text


@pytest.mark.parametrize("cut", ["half", "bit", "header", "empty"])
def test_a_damaged_state_is_left_aside(
    cut: str, tmp_path: Path, undisturbed: TrainedMember, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        train_small(tmp_path, progress=interrupt_after(2, []))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if cut == "bit":
        data[-1000] ^= 1
    elif cut == "header":
        data[3] = 255
    else:
        data = data[: {"half": len(data) // 2, "empty": 0}[cut]]
    path.write_bytes(bytes(data))
    calls: list[int] = []
    assert_same(train_small(tmp_path, progress=interrupt_after(0, calls)), undisturbed)
    assert calls == [1, 2, 3, 4, 5]
    assert "is ignored: it is damaged" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged_and_stops_nothing(
    tmp_path: Path, undisturbed: TrainedMember, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_same(train_small(tmp_path / "file"), undisturbed)
    assert "cannot be kept" in caplog.text


def test_history_says_what_each_epoch_came_to(undisturbed: TrainedMember) -> None:
    history = undisturbed.history
    assert [(s.member, s.round, s.epoch) for s in history] == [(1, "first", epoch) for epoch in range(1, 6)]
    steps = 200 // 33 * np.arange(5)
    np.testing.assert_allclose(
        [s.learning_rate for s in history], 5e-3 * (1 + np.cos(np.pi * steps / 30)) / 2, rtol=1e-9
    )
    losses = [s.held_out_loss for s in history]
    assert undisturbed.best_epoch == int(np.argmin(losses)) + 1
    assert history[-1].loss < history[0].loss


def test_scores_of_the_kept_epoch_are_those_of_its_network(undisturbed: TrainedMember) -> None:
    fitted, stopping = small["small_set"](200, 0), small["small_set"](60, 1)
    weight = sampling_weights(
        fitted.latitude, fitted.longitude, fitted.growth_form, growth_form_balance=1, place_balance=0
    )
    image, place, target = fit_scalings(
        undisturbed.network.config,
        fitted.features(),
        fitted.covariates,
        fitted.covariate_names,
        fitted.centres(),
        weight,
    )
    has_image, has_place = stopping.present()
    location, _ = undisturbed.network(
        torch.from_numpy(np.nan_to_num(image.apply(stopping.features()), nan=0.0)),
        torch.from_numpy(place.apply(stopping.covariates)),
        torch.from_numpy(has_image),
        torch.from_numpy(has_place),
    )
    predicted = location.double().numpy() * target.scale + target.centre
    kept = undisturbed.history[undisturbed.best_epoch - 1]
    for column, trait in enumerate(("height", "leaf_area", "sla")):
        known = ~np.isnan(stopping.label_median[:, column])
        truth, mean = stopping.label_median[known, column], predicted[known, column]
        assert kept.rmse[trait] == pytest.approx(np.sqrt(np.mean((truth - mean) ** 2)), rel=1e-6)
        assert kept.pearson_r[trait] == pytest.approx(np.corrcoef(truth, mean)[0, 1], rel=1e-6)


def test_progress_tells_losses_and_correlations(undisturbed: TrainedMember) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []
    train_small(progress=lambda *said: seen.append(said))
    assert [said[:2] for said in seen] == [(done, 10) for done in range(6, 11)]
    assert sorted(seen[0][2]) == ["held_out_loss", "loss", "r_height", "r_leaf_area", "r_sla"]
    assert seen[2][2]["r_sla"] == undisturbed.history[2].pearson_r["sla"]


def test_without_stopping_rows_the_last_epoch_is_kept() -> None:
    trained = train_small(n_stopping=0)
    assert trained.best_epoch == 5
    assert all(np.isnan([s.held_out_loss, *s.rmse.values(), *s.pearson_r.values()]).all() for s in trained.history)


def test_a_training_that_diverges_is_refused() -> None:
    with pytest.raises(ModelError, match=r"held-out loss that is a number .* lower model.learning_rate"):
        train_small(settings=SETTINGS.model_copy(update={"learning_rate": 1e30}))


def test_bfloat16_learns_the_same(undisturbed: TrainedMember) -> None:
    found = train_small(settings=SETTINGS.model_copy(update={"precision": "bfloat16"}))
    assert {tensor.dtype for tensor in found.network.state_dict().values()} == {torch.float32}
    assert found.history != undisturbed.history
    np.testing.assert_allclose(
        [s.held_out_loss for s in found.history], [s.held_out_loss for s in undisturbed.history], atol=0.05
    )
    explicit = train_small(settings=SETTINGS.model_copy(update={"precision": "float32"}))
    assert explicit.history == undisturbed.history  # what auto means on a processor
