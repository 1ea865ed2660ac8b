"""Evaluation: what each variant is given and keeps its labels, its rows of scores, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import InputError, ModelError
from plant_traits.model.ensemble import Fitting
from plant_traits.model.score_table import COLUMNS
from plant_traits.model.training import localised, split_records
from plant_traits.model.training_set import TrainingSet
from plant_traits.stages import evaluation
from plant_traits.stages.evaluation import evaluate_variant, gather_scores
from plant_traits.stages.training_table import read_training_table


@dataclass
class Seen:
    """What ``train`` was called with, and what progress was told."""

    training: list[TrainingSet] = field(default_factory=list)
    how: list[Fitting] = field(default_factory=list)
    dropped: list[np.ndarray | None] = field(default_factory=list)
    told: list[tuple[int, int, str]] = field(default_factory=list)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found, train = Seen(), evaluation.train

    def watched(training: TrainingSet, how: Fitting, **more: Any) -> Any:  # noqa: ANN401
        found.training.append(training)
        found.how.append(how)
        found.dropped.append(more["dropped"])
        return train(training, how, **more)

    monkeypatch.setattr(evaluation, "train", watched)
    return found


@pytest.fixture
def evaluate(tmp_path: Path, asked: dict[str, Any], seen: Seen) -> Any:  # noqa: ANN401
    """Return a function that scores a variant and returns its table."""

    def scored(name: str, folder: str | None = None, **more: Any) -> pd.DataFrame:  # noqa: ANN401
        destination = tmp_path / (folder or f"scores-{name}")
        destination.mkdir()
        arguments = {"name": name, "encoder": None, "cleaning": None} | asked | more
        summary = evaluate_variant(destination, **arguments, progress=lambda *told: seen.told.append(told))
        table = pd.read_csv(destination / "scores.csv")
        (count,) = summary["out"].values()
        assert count == len(table)
        return table

    return scored


@pytest.fixture
def cleaning(tmp_path: Path, asked: dict[str, Any]) -> Path:
    """Drop records 4 and 5 from the first fit, and 6 from the refit."""
    folder = tmp_path / "cleaning"
    folder.mkdir()
    pd.DataFrame({"fit": ["first", "first", "refit"], "row": [4, 5, 6]}).to_csv(folder / "dropped.csv")
    return folder


def labels_of_all(asked: dict[str, Any]) -> np.ndarray:
    """Return the labels that a model of all records is trained on."""
    training = read_training_table(asked["table"], asked["traits"]).training
    how = Fitting(asked["traits"], asked["settings"], "e1")
    return localised(training, split_records(training, how) == "fitting", how)[0].centres()


def test_the_whole_model_has_a_row_for_every_split_modality_and_trait(
    evaluate: Any,  # noqa: ANN401
    asked: dict[str, Any],
    seen: Seen,
) -> None:
    asked["settings"] = asked["settings"].model_copy(update={"refit": True})
    table = evaluate("full")
    assert tuple(table.columns) == COLUMNS
    assert set(table["variant"]) == {"full"}
    assert set(table["compared_with"]) == {"labels"}
    whole = table[table["growth_form"] == "all"]
    assert set(zip(whole["split"], whole["trait"], strict=True)) == {
        (split, trait) for split in ("regions", "species", "photos") for trait in ("height", "sla")
    }
    assert set(whole["modalities"]) == {"image+geospatial", "image", "geospatial"}
    (how,) = seen.how
    assert not how.settings.refit
    assert len(seen.training[0].latitude) == 520
    assert [told[:2] for told in seen.told] == [(done, 4) for done in range(1, 5)]


def test_photos_alone_see_no_place_and_places_alone_no_photo_but_labels_stay_the_same(
    evaluate: Any,  # noqa: ANN401
    asked: dict[str, Any],
    seen: Seen,
) -> None:
    labels = labels_of_all(asked)
    photo, place, _ = (evaluate(name) for name in ("photo", "place", "same-everywhere"))
    of_photo, of_place, plain = seen.training
    assert of_photo.covariates.shape == (360, 0)
    assert of_photo.present()[0].all()
    assert set(photo["modalities"]) == {"image"}
    np.testing.assert_array_equal(of_photo.centres(), labels[:360])
    assert of_place.image_features is None
    assert len(of_place.latitude) == 519  # one record has no place
    assert set(place["modalities"]) == {"geospatial"}
    np.testing.assert_array_equal(of_place.centres(), np.delete(labels, 3, axis=0))
    assert np.nanmax(np.abs(plain.centres() - labels)) > 0.1


def test_one_model_per_trait_makes_one_set_of_rows_each(
    evaluate: Any,  # noqa: ANN401
    seen: Seen,
) -> None:
    table = evaluate("single-task")
    assert [[trait.id for trait in how.traits] for how in seen.how] == [["height"], ["sla"]]
    height, sla = seen.training
    assert height.label_median.shape == (520, 1)
    assert sla.label_median.shape == (519, 1)  # one record has no label of it
    keys = ["split", "compared_with", "modalities", "growth_form", "trait"]
    assert not table.duplicated(keys).any()
    assert set(table["trait"]) == {"height", "sla"}
    assert [told[:2] for told in seen.told] == [(done, 8) for done in range(1, 9)]


def test_one_head_is_one_member(evaluate: Any, seen: Seen) -> None:  # noqa: ANN401
    evaluate("one-head")
    assert [how.settings.ensemble for how in seen.how] == [1]
    assert len(seen.told) == 2


def test_what_was_dropped_stays_dropped_except_where_that_is_the_question(
    evaluate: Any,  # noqa: ANN401
    seen: Seen,
    cleaning: Path,
) -> None:
    evaluate("full", cleaning=cleaning)
    evaluate("place", cleaning=cleaning)  # without record 3, so one row earlier
    evaluate("single-task", cleaning=cleaning)  # of sla without record 2, so one row earlier
    evaluate("uncleaned", cleaning=cleaning)
    full, place, height, sla, uncleaned = seen.dropped
    assert [np.flatnonzero(x).tolist() for x in (full, place, height, sla)] == [[4, 5], [3, 4], [4, 5], [3, 4]]
    assert uncleaned is None


def test_labels_from_the_records_of_species(evaluate: Any, seen: Seen) -> None:  # noqa: ANN401
    evaluate("records")
    evaluate("full")
    assert seen.training[0].label_records is not None
    assert seen.training[1].label_records is None


def test_true_values_take_the_place_of_labels(evaluate: Any, seen: Seen, truth: Path, asked: dict[str, Any]) -> None:  # noqa: ANN401
    table = evaluate("place-truth", truth=truth)
    (training,) = seen.training
    before = read_training_table(asked["table"], asked["traits"]).training
    assert training.image_features is None
    photographed = [row for row in range(520) if row != 3][:359]
    np.testing.assert_allclose(training.measured[:359, 0], before.label_median[photographed, 0] + 10, rtol=1e-12)
    np.testing.assert_array_equal(training.measured[359:], before.measured[360:])
    assert set(table["compared_with"]) == {"labels", "truth"}
    with pytest.raises(InputError, match="needs them: only the profile of a virtual world"):
        evaluate("place-truth", "none")


def test_scores_against_the_truth_are_of_the_right_plants(evaluate: Any, truth: Path) -> None:  # noqa: ANN401
    table = evaluate("photo", truth=truth)
    rows = table[(table["growth_form"] == "all") & (table["split"] == "regions")].set_index(["compared_with", "trait"])
    r = rows["pearson_r"]
    assert rows.loc[("truth", "height"), "rmse"] == pytest.approx(10, abs=3)
    assert r[("truth", "height")] == pytest.approx(r[("labels", "height")], abs=0.25)
    assert rows.loc[("truth", "sla"), "within_species_n"] > 20


def test_every_row_is_scored_as_the_plant_it_is(
    evaluate: Any,  # noqa: ANN401
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[pd.DataFrame] = []
    score_plants = evaluation.score_plants

    def watched(trained: Any, records: pd.DataFrame, truth: Path | None) -> dict[str, Any]:  # noqa: ANN401
        scored.append(records)
        return score_plants(trained, records, truth)

    monkeypatch.setattr(evaluation, "score_plants", watched)
    for name in ("photo", "place", "single-task"):
        evaluate(name)
    for training, records in zip(seen.training, scored, strict=True):
        assert records["species"].tolist() == training.species
        assert records["occasion"].tolist() == training.occasion.tolist()
    assert [len(records) for records in scored] == [360, 519, 520, 519]


def test_another_encoder_is_said_of_the_variant(evaluate: Any) -> None:  # noqa: ANN401
    assert set(evaluate("full", encoder="dinov2-small")["variant"]) == {"full, dinov2-small"}


def test_an_unknown_variant_is_refused(evaluate: Any) -> None:  # noqa: ANN401
    with pytest.raises(ModelError, match="expected one of full, photo"):
        evaluate("everything")


def test_scores_of_all_variants_are_gathered_in_order(evaluate: Any, tmp_path: Path) -> None:  # noqa: ANN401
    one, other = evaluate("full"), evaluate("one-head")
    (tmp_path / "all").mkdir()
    summary = gather_scores(tmp_path / "all", variants=[tmp_path / "scores-full", tmp_path / "scores-one-head"])
    found = pd.read_csv(tmp_path / "all" / "scores.csv")
    pd.testing.assert_frame_equal(found, pd.concat([one, other], ignore_index=True))
    assert summary == {"in": {"variants": 2}, "out": {"scores": len(one) + len(other)}}
