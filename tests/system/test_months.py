"""Months that follow one another: each costs what changed, and ends as a run from scratch with the same model would."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

pytestmark = pytest.mark.system

MONTHS = ("2026-10", "2026-11", "2026-12")
CHANGE = 0.04


@dataclass(frozen=True)
class Month:
    """A finished month: what it showed, and the folder of each stage's output."""

    shown: object
    stages: dict[str, Path]
    release: Path

    def table(self, stage: str, file: str = "moments.parquet") -> pd.DataFrame:
        return pd.read_parquet(self.stages[stage] / file)

    def members(self, stage: str) -> dict[str, Path]:
        listing = json.loads((self.stages[stage] / "members.json").read_text())
        steps = self.stages[stage].parents[1]
        return {name: steps / entry["step"] / entry["key"] for name, entry in listing.items()}

    def rows(self, stage: str) -> pd.DataFrame:
        return pd.concat(pd.read_parquet(folder / "observations.parquet") for folder in self.members(stage).values())

    def predictions(self) -> pd.DataFrame:
        keys, live = ["observation_id", "photo_id"], self.members("live shards")
        parts = [
            pd.read_parquet(folder / "predictions.parquet").merge(
                pd.read_parquet(live[name] / "observations.parquet", columns=keys), on=keys
            )
            for name, folder in self.members("predictions").items()
        ]
        return pd.concat(parts)


@pytest.fixture(scope="module", params=["names as stated", "gate of names"])
def gated(request: pytest.FixtureRequest) -> bool:
    """Return whether names are judged: by a names model of the first month, and votes asked for every month."""
    return str(request.param) == "gate of names"


@pytest.fixture(scope="module")
def overlay(gated: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a catalogue with the tiny profile, whose world changes by more records a month than a few."""
    folder = tmp_path_factory.mktemp("catalogue")
    built_in = Path(__file__).parents[2] / "data_catalog" / "profiles" / "tiny.yaml"
    text = built_in.read_text()
    changes = {
        "id: tiny": "id: months",
        "seed: 7, photos: 300,": f"seed: 7, photos: 300, monthly_change: {CHANGE}, later_months: 2,",
    }
    if gated:
        changes |= {
            "into: identifications}": "into: identifications, settings: {refresh_months: 1}}",
            "minimum_photos: 1": "names: {train: true}\nminimum_photos: 1",
        }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after, 1)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "months.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def run_month(run_refresh, overlay: Path):
    def run(workspace: Path, month: str, model: str = "kept") -> Month:
        done = run_refresh(workspace, profile="months", month=month, catalog=[str(overlay)], model=model)
        (record,) = (workspace / "runs").glob(f"*/{month}/*.json")
        stages = json.loads(record.read_text())["stages"]
        folders = {name: workspace / "steps" / entry["step"] / entry["key"] for name, entry in stages.items()}
        return Month(done.shown, folders, done.release.resolve())

    return run


@pytest.fixture(scope="module")
def followed(run_month, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Month]:
    workspace = tmp_path_factory.mktemp("followed")
    return {month: run_month(workspace, month) for month in MONTHS}


@pytest.fixture(scope="module")
def rebuilt(run_month, followed: dict[str, Month], gated: bool, tmp_path_factory: pytest.TempPathFactory) -> Month:
    """Run the last month in a new workspace, with the models of the first."""
    model = followed[MONTHS[0]].stages["model"]
    workspace = tmp_path_factory.mktemp("rebuilt")
    if gated:
        names = followed[MONTHS[0]].stages["names model"]
        kept, step = names.parents[2] / "names-models", workspace / "steps" / names.parent.name
        shutil.copytree(kept, workspace / "names-models")
        shutil.copytree(names, step / names.name)
        shutil.copyfile(names.with_suffix(".json"), step / f"{names.name}.json")
    return run_month(workspace, MONTHS[-1], str(model))


def pictures_of(shard: Path) -> pd.DataFrame:
    return pd.read_parquet(shard / "photos.parquet", columns=["photo_id", "status", "sha256"])


def summary(folder: Path) -> dict[str, dict[str, int]]:
    """Return what a step said of the output in a folder."""
    return json.loads(folder.with_suffix(".json").read_text())["summary"]


def changed_rows(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str | None]]:
    """Return the rows of a month that are new or of another content, by plain comparison of all columns."""
    columns = [name for name in after.columns if name not in {"flags", "snapshot"}]
    both = after[columns].merge(before[columns], on=columns, how="left", indicator=True)
    new = both[both["_merge"] == "left_only"]
    return set(new[["observation_id", "photo_id"]].itertuples(index=False, name=None))


@pytest.mark.timeout(1200)
def test_a_month_predicts_what_changed_and_encodes_what_is_new(followed: dict[str, Month]) -> None:
    for earlier, later in pairwise(MONTHS):
        before, after = followed[earlier], followed[later]
        observations = [x.table("observations", "observations.parquet") for x in (before, after)]
        expected = changed_rows(*observations)
        assert 3 <= len(expected) < 0.4 * len(observations[1])
        held = {name for name in before.members("shards")}
        new = {name: folder for name, folder in after.members("shards").items() if name not in held}
        cut = pd.concat(pd.read_parquet(folder / "observations.parquet") for folder in new.values())
        back = after.shown.summaries["shards"]["out"].get("rows cut again for a photo that was missing", 0)
        assert len(cut) - back == len(expected)
        assert set(cut[["observation_id", "photo_id"]].itertuples(index=False, name=None)) >= expected
        predicted = {
            folder for name, folder in after.members("predictions").items() if name not in before.members("predictions")
        }
        assert len(predicted) == len(new)
        assert {x for n, x in after.members("predictions").items() if n in held} <= set(
            before.members("predictions").values()
        )
        gone = len(changed_rows(observations[1], observations[0]))
        assert after.shown.summaries["shards"]["out"]["rows retracted or changed since the month before"] == gone
        # Only pictures that no earlier shard held are encoded: of added records, not of changed ones.
        pictures = pd.concat(pictures_of(folder) for folder in before.members("shards").values())
        own = pd.concat(pictures_of(folder) for folder in new.values())
        fresh = own[(own["status"] == "ok") & ~own["sha256"].isin(pictures["sha256"])]
        told = [summary(after.members("photo features")[name]) for name in new]
        encoded, lost = (sum(x["out"]["photos encoded"] for x in told), sum(sum(x["lost"].values()) for x in told))
        assert fresh["sha256"].nunique() - lost <= encoded <= fresh["sha256"].nunique()
        assert 0 < len(fresh) < len(own)


def test_the_model_is_kept_and_told(followed: dict[str, Month]) -> None:
    first, *others = followed.values()
    assert "trained heads" in first.shown.computed
    for month in others:
        assert month.stages["model"] == first.stages["model"]
        assert "trained heads" in month.shown.reused
        assert "training table" not in month.shown.computed
        page = (month.release / "report.html").read_text(encoding="utf-8")
        assert "trained in the run months-world-5deg-2026-10" in page


def test_the_last_month_equals_a_rebuild(followed: dict[str, Month], rebuilt: Month) -> None:
    last = followed[MONTHS[-1]]
    keys = ["observation_id", "photo_id", "trait"]
    ours, theirs = (x.predictions().sort_values(keys, ignore_index=True) for x in (last, rebuilt))
    pd.testing.assert_frame_equal(ours, theirs)  # to the bit
    assert set(last.members("shards")) != set(rebuilt.members("shards"))
    moments = [
        x.table("moments").sort_values(["cell", "species", "observer", "trait", "evidence"], ignore_index=True)
        for x in (last, rebuilt)
    ]
    pd.testing.assert_frame_equal(*moments, rtol=1e-12, atol=0)
    for stage in ("estimates", "cells"):
        for file in sorted(last.stages[stage].glob("*.parquet")):
            tables = [x.table(stage, file.name) for x in (last, rebuilt)]
            pd.testing.assert_frame_equal(*tables, rtol=1e-10, atol=1e-10, obj=f"{stage}/{file.name}")
    maps, again = (xr.open_zarr(x.release / "maps.zarr").load() for x in (last, rebuilt))
    assert set(maps) == set(again)
    for name in maps.data_vars:
        if np.issubdtype(maps[name].dtype, np.floating):
            np.testing.assert_allclose(maps[name], again[name], rtol=1.2e-7, atol=1e-10, err_msg=name)  # a float32
        else:
            np.testing.assert_array_equal(maps[name], again[name], err_msg=name)
        if name.rpartition("_")[2] in {"photos", "species", "observers"}:
            np.testing.assert_array_equal(maps[name], again[name], err_msg=name)
    counts = [pd.read_csv(x.release / "citation" / "records_used.csv") for x in (last, rebuilt)]
    pd.testing.assert_frame_equal(*counts)


def test_names_are_judged_in_each_month_where_a_names_model_is_kept(
    followed: dict[str, Month], rebuilt: Month, gated: bool
) -> None:
    stages = {"names model", "votes", "decisions on names"}
    for month in (*followed.values(), rebuilt):
        assert stages & set(month.stages) == (stages if gated else set())
    if gated:
        last = followed[MONTHS[-1]]
        assert last.stages["names model"].name == rebuilt.stages["names model"].name
        order = ["observation_id"]
        ours, theirs = (
            x.table("decisions on names", "decisions.parquet").sort_values(order, ignore_index=True)
            for x in (last, rebuilt)
        )
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
        first = followed[MONTHS[0]].table("decisions on names", "decisions.parquet").set_index("observation_id")
        both = ours.set_index("observation_id").join(first, rsuffix="_first", how="inner")
        assert (both["vote_confidence"] != both["vote_confidence_first"]).any()  # people went on voting


def test_a_month_run_again_computes_nothing(run_month, followed: dict[str, Month]) -> None:
    last = followed[MONTHS[-1]]
    workspace = last.stages["shards"].parents[2]
    again = run_month(workspace, MONTHS[-1])
    assert again.shown.computed == []
    assert again.release == last.release
