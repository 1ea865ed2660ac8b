"""The cleaning stage: who judges whom, and how a dropped record is found again in the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError, TableError
from plant_traits.model.cleaning_rounds import DROPPED, CleaningRounds
from plant_traits.model.ensemble import Fitting
from plant_traits.model.training import localised, split_records
from plant_traits.model.training_set import TrainingSet
from plant_traits.stages import cleaning_rounds
from plant_traits.stages.cleaning_rounds import clean_labels, read_dropped
from plant_traits.stages.training_table import read_training_table


def cleaned_in(folder: Path, asked: dict[str, Any], **changes: Any) -> tuple[pd.DataFrame, Any, list[tuple[int, int]]]:  # noqa: ANN401
    folder.mkdir()
    seen: list[tuple[int, int]] = []
    settings = asked["settings"].model_copy(update=changes)
    summary = clean_labels(folder, **asked | {"settings": settings}, progress=lambda *told: seen.append(told))
    return pd.read_csv(folder / "dropped.csv"), summary, seen


def dealt(asked: dict[str, Any]) -> tuple[TrainingSet, np.ndarray]:
    training = read_training_table(asked["table"], asked["traits"]).training
    return training, split_records(training, Fitting(asked["traits"], asked["settings"], "e1"))


def dropping(rows: list[int]) -> CleaningRounds:
    lines = {name: np.zeros(len(rows)) for name in DROPPED} | {"row": rows, "trait": [1] * len(rows), "reason": "odd"}
    return CleaningRounds("published", np.ones(1, bool), pd.DataFrame(lines).astype(DROPPED), ({"photos": 9},))


def test_each_fit_is_judged_among_its_own_records_with_labels_as_it_is_trained_on(
    tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainingSet] = []

    def judged(training: TrainingSet, *_: object, **__: object) -> CleaningRounds:
        given.append(training)
        return dropping([0, 3])

    monkeypatch.setattr(cleaning_rounds, "clean", judged)
    dropped, _, _ = cleaned_in(tmp_path / "c", asked, cleaning="published", refit=True)
    training, split = dealt(asked)
    how = Fitting(asked["traits"], asked["settings"], "e1")
    for part, chosen in zip(given, (split == "fitting", np.ones(len(split), bool)), strict=True):
        expected = localised(training, chosen, how)[0].rows(chosen)
        np.testing.assert_array_equal(part.centres(), expected.centres())
        np.testing.assert_array_equal(part.occasion, expected.occasion)
        assert part.label_shift is not None
        assert np.abs(part.label_shift[:, 0]).max() > 0.1  # the response that the table was made with
    first, refit = (dropped[dropped["fit"] == fit] for fit in ("first", "refit"))
    assert first["row"].tolist() == np.flatnonzero(split == "fitting")[[0, 3]].tolist()
    assert refit["row"].tolist() == [0, 3]
    assert dropped["photo_id"].tolist() == [f"p{row}" for row in dropped["row"]]
    assert dropped["observation_id"].tolist() == [f"o{row}" for row in dropped["row"]]
    assert dropped["species"].tolist() == [training.species[row] for row in dropped["row"]]
    assert set(dropped["trait"]) == {"sla"}
    marked = read_dropped(tmp_path / "c", 520)
    assert np.flatnonzero(marked).tolist() == first["row"].tolist()
    assert np.flatnonzero(read_dropped(tmp_path / "c", 520, "refit")).tolist() == [0, 3]


def test_no_judge_sees_a_held_out_record_and_none_stops_by_what_it_is_fitted_to(
    tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], set[int]]] = []
    fit_ensemble = cleaning_rounds.fit_ensemble

    def watched(how: Fitting, fitted: TrainingSet, stopping: TrainingSet, **more: Any) -> Any:  # noqa: ANN401
        seen.append((set(fitted.occasion.tolist()), set(stopping.occasion.tolist())))
        return fit_ensemble(how, fitted, stopping, **more)

    monkeypatch.setattr(cleaning_rounds, "fit_ensemble", watched)
    monkeypatch.setattr(cleaning_rounds, "EPOCHS", 2)
    cleaned_in(tmp_path / "c", asked, cleaning="cross_fitted", refit=True)
    training, split = dealt(asked)
    own = {name: set(training.occasion[split == name].tolist()) for name in ("fitting", "stopping")}
    assert len(seen) == 10
    for fitted, stopping in seen[:5]:
        assert fitted < own["fitting"]
        assert stopping == own["stopping"]
    for fitted, stopping in seen[5:]:
        assert not fitted & stopping
    assert set.union(*(fitted for fitted, _ in seen[5:])) == set(training.occasion.tolist())


@pytest.mark.parametrize(("rule", "fits"), [("published", 2), ("cross_fitted", 5)])
def test_progress_ends_where_it_was_planned_to(
    rule: str, fits: int, tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning_rounds, "EPOCHS", 2)
    _, summary, told = cleaned_in(tmp_path / "c", asked, cleaning=rule)
    assert told == [(done, 2 * fits) for done in range(1, 2 * fits + 1)]
    assert "refit" not in str(summary)


def test_labels_of_other_species_are_found_and_counted(tmp_path: Path, asked: dict[str, Any]) -> None:
    _, split = dealt(asked)
    rows = pd.read_parquet(asked["table"] / "rows.parquet")
    wrong = np.flatnonzero((split == "fitting") & rows["photo_id"].notna())[2:200:8]
    columns = [f"label_{trait}_{part}" for trait in ("height", "sla") for part in ("median", "low", "high")]
    rows.loc[wrong, columns] += np.where(np.arange(len(wrong)) % 2, 5.0, -5.0)[:, None]
    rows.to_parquet(asked["table"] / "rows.parquet")
    more = {"learning_rate": 0.01, "hidden": 32, "batch_size": 16, "growth_form_balance": 0.0}
    asked["settings"] = asked["settings"].model_copy(update=more)
    dropped, summary, _ = cleaned_in(tmp_path / "c", asked, cleaning="cross_fitted")
    found = set(dropped["row"])
    assert len(found & set(wrong)) > 0.8 * len(wrong)
    assert len(found - set(wrong)) < 0.1 * 300
    assert set(dropped["fit"]) == {"first"}
    assert sum(summary["lost"].values()) == len(dropped)


def test_a_profile_without_cleaning_has_no_such_stage(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such stage"):
        cleaned_in(tmp_path / "c", asked, cleaning="none")


def test_too_much_to_drop_is_refused(tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plant_traits.model.cleaning_rounds.UNCERTAIN", 0.1)
    monkeypatch.setattr(cleaning_rounds, "EPOCHS", 1)
    with pytest.raises(ModelError, match="expected to drop at most 30%"):
        cleaned_in(tmp_path / "c", asked, cleaning="published")


@pytest.mark.parametrize(
    "text", [None, "", "row\n1\n", "fit,row\nfirst,high\n", "fit,row\nfirst,-1\n", "fit,row\nfirst,5\n"]
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dropped.csv").write_text(text)
    with pytest.raises(TableError, match="run the cleaning rounds again"):
        read_dropped(tmp_path, 5)


def test_nothing_dropped_is_a_list_of_nothing(
    tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning_rounds, "clean", lambda *_, **__: dropping([]))
    dropped, _, _ = cleaned_in(tmp_path / "c", asked, cleaning="published", refit=True)
    assert dropped.empty
    assert {"fit", "row", "reason", "trait", "photo_id"} <= set(dropped.columns)
    assert not read_dropped(tmp_path / "c", 520).any()
    assert not read_dropped(tmp_path / "c", 520, "refit").any()
