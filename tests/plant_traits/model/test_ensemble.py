"""An ensemble: each member's own epochs, what stops it, and which records its scalings are of."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data_catalog import ModelSettings, Trait
from plant_traits.model import member
from plant_traits.model.ensemble import Fitting, fit_ensemble
from plant_traits.model.prediction import predict
from plant_traits.model.training_set import TrainingSet

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)
SETTINGS = ModelSettings(
    ensemble=3, hidden=8, blocks=1, epochs=6, batch_size=32, learning_rate=0.05, dropout=0.0, patience=6,
    growth_form_balance=0.0,
)  # fmt: skip
HOW = Fitting(TRAITS, SETTINGS, "e1")


def plants(n: int, seed: int, shift: float = 0.0) -> TrainingSet:
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(n, 4)).astype(np.float32) + np.float32(shift)
    median = image[:, :2] + generator.normal(size=(n, 2)) * 0.5
    return TrainingSet(
        image_features=image,
        covariates=generator.normal(size=(n, 3)) + shift,
        covariate_names=("a", "b", "c"),
        latitude=generator.uniform(-60, 80, n),
        longitude=generator.uniform(-180, 180, n),
        measured=np.full((n, 2), np.nan),
        label_median=median,
        label_sd=np.full((n, 2), 0.2),
        label_low=median - 0.4,
        label_high=median + 0.4,
        growth_form=["tree"] * n,
        species=["Rosa canina"] * n,
        occasion=np.arange(n),
        biome=[None] * n,
    )


def test_every_member_keeps_the_epoch_that_is_best_for_the_stopping_records() -> None:
    found = fit_ensemble(HOW, plants(120, 0), plants(60, 1))
    of_traits = found.curves[found.curves["trait"] == "height"]
    best = [int(part.set_index("epoch")["held_out_loss"].idxmin()) for _, part in of_traits.groupby("member")]
    assert found.best_epochs == best
    assert len({tuple(part["loss"]) for _, part in of_traits.groupby("member")}) == 3  # each its own course
    other = fit_ensemble(HOW, plants(120, 0), plants(60, 2))
    assert other.curves["held_out_loss"].tolist() != found.curves["held_out_loss"].tolist()
    assert other.curves["loss"].tolist() == found.curves["loss"].tolist()  # they stop it, and are not fitted


def test_given_epochs_are_of_each_member() -> None:
    found = fit_ensemble(HOW, plants(120, 0), plants(60, 1), epochs=[4, 1, 2])
    assert found.best_epochs == [4, 1, 2]
    assert found.curves.groupby("member")["epoch"].max().tolist() == [4, 1, 2]
    assert set(found.curves["round"]) == {"refit"}


def test_scalings_are_of_the_fitted_records_alone() -> None:
    fitted = plants(120, 0)
    found = fit_ensemble(HOW, fitted, plants(60, 1, shift=30.0)).model
    np.testing.assert_allclose(found.covariate_standardisation.centre, fitted.covariates.mean(axis=0))
    np.testing.assert_allclose(found.image_standardisation.scale, fitted.features().astype(float).std(axis=0))
    np.testing.assert_allclose(found.target_centre, fitted.label_median.mean(axis=0))
    np.testing.assert_allclose(found.target_scale, fitted.label_median.std(axis=0))


def test_without_stopping_records_members_are_trained_to_the_end() -> None:
    nothing = plants(60, 1).rows(np.zeros(60, dtype=bool))
    assert fit_ensemble(HOW, plants(120, 0), nothing).best_epochs == [6, 6, 6]


def test_a_member_does_not_depend_on_how_many_there_are() -> None:
    one = replace(HOW, settings=SETTINGS.model_copy(update={"ensemble": 1}))
    single, all_three = (fit_ensemble(how, plants(120, 0), plants(60, 1)).model for how in (one, HOW))
    ours, theirs = single.networks[0].state_dict(), all_three.networks[0].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    weights = [network.state_dict()["location.weight"] for network in all_three.networks]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_the_global_random_state_are_left_as_they_were(threads: int) -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    how = replace(HOW, settings=SETTINGS.model_copy(update={"ensemble": 1, "epochs": 1}), threads=threads)
    fit_ensemble(how, plants(40, 0), plants(20, 1))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_member_draws_labels_of_its_own_in_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int, int]] = []
    labels = TrainingSet.labels

    def watched(self: TrainingSet, seed: int, epoch: int) -> np.ndarray:
        drawn.append((len(self.latitude), seed, epoch))
        return labels(self, seed, epoch)

    monkeypatch.setattr(TrainingSet, "labels", watched)
    fit_ensemble(HOW, plants(120, 0), plants(60, 1))
    fitted = [(seed, epoch) for n, seed, epoch in drawn if n == 120]
    assert len(set(fitted)) == len(fitted) == 18  # three members of six epochs
    assert {epoch for _, epoch in fitted} == set(range(6))
    assert len({(seed, epoch) for n, seed, epoch in drawn if n == 60}) == 1  # the stopping records keep theirs
    assert not set(fitted) & {(seed, epoch) for n, seed, epoch in drawn if n == 60}


def test_a_rare_growth_form_counts_as_much_as_a_common_one() -> None:
    fitted = plants(200, 0)
    rare = np.arange(200) < 10
    median = np.where(rare, 4.0, 0.0)[:, None] * np.ones(2)
    fitted = replace(
        fitted,
        image_features=np.zeros((200, 4), dtype=np.float32),  # nothing tells them apart
        covariates=np.zeros((200, 3)),
        label_median=median,
        label_low=median - 0.4,
        label_high=median + 0.4,
        growth_form=["tree" if one else "herb" for one in rare],
    )
    nothing = plants(60, 1).rows(np.zeros(60, dtype=bool))
    for balance, expected in ((1.0, 2.0), (0.0, 0.2)):
        settings = SETTINGS.model_copy(update={"growth_form_balance": balance, "learning_rate": 0.01, "epochs": 12})
        model = fit_ensemble(replace(HOW, settings=settings), fitted, nothing).model
        found = predict(model, fitted.features()[:1], fitted.covariates[:1]).mean
        assert found[0, 0] == pytest.approx(expected, abs=0.6)


def test_modalities_are_hidden_and_covariates_blurred_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[object, ...]] = set()
    dropping, blurring = member.drop_modalities, member.perturb_covariates

    def dropped(*given: Any) -> Any:  # noqa: ANN401
        asked.add(("hidden", *given[2:]))
        return dropping(*given)

    def blurred(*given: Any) -> Any:  # noqa: ANN401
        asked.add(("blurred", *given[1:]))
        return blurring(*given)

    monkeypatch.setattr(member, "drop_modalities", dropped)
    monkeypatch.setattr(member, "perturb_covariates", blurred)
    update = {"modality_dropout": 0.25, "covariate_noise": 0.125, "covariate_dropout": 0.375, "epochs": 1}
    fit_ensemble(replace(HOW, settings=SETTINGS.model_copy(update=update)), plants(120, 0), plants(60, 1))
    assert asked == {("hidden", 0.25), ("blurred", 0.125, 0.375)}
