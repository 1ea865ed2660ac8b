"""The months after a world's first: what is planted is what is served, and the first month knows nothing of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from data_catalog import HostLimits, Profile, Trait, WorldSettings
from plant_traits.errors import WorkspaceError
from plant_traits.simulation.months import CHANGES
from plant_traits.simulation.services import serve
from plant_traits.simulation.services.world_records import WorldRecords
from plant_traits.simulation.world import build_world
from plant_traits.simulation.write_inaturalist import TABLES
from plant_traits.sources.web.client import Patience, Web
from plant_traits.sources.web.download import download

GBIF = "https://api.gbif.org/v1"
BUCKET = "https://inaturalist-open-data.s3.amazonaws.com"
EVERYTHING = {"format": "DWCA", "predicate": {"type": "equals", "key": "OCCURRENCE_STATUS", "value": "present"}}
PLACE = ["decimalLatitude", "decimalLongitude", "countryCode"]
NAME = ["species", "scientificName", "acceptedScientificName", "specificEpithet", "taxonKey", "acceptedTaxonKey",
        "speciesKey", "genus", "genusKey", "family", "familyKey", "order"]  # fmt: skip
MONTHS = [f"2026-{month}" for month in (11, 12)] + [f"2027-0{month}" for month in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def unchanging(tiny: Profile, five_traits: list[Trait], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unchanging")
    assert tiny.inputs.world is not None
    build_world(tiny.inputs.world.model_copy(update={"monthly_change": 0.0}), five_traits, folder)
    return folder


@pytest.fixture(scope="module")
def changes(tiny_world: Path) -> pd.DataFrame:
    return pd.read_parquet(tiny_world / "truth" / "changes.parquet").astype({"gbifID": str})


@contextmanager
def asked(world: Path, state: Path, month: str | None) -> Iterator[Web]:
    with serve(world, state=state, month=month) as stand_ins:
        limits = {x: HostLimits(host=x, requests_per_minute=60_000, connections=2) for x in stand_ins.routes}
        patience = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=20.0)
        routes, credentials = stand_ins.routes, stand_ins.credentials
        with Web(limits, state / "pace.sqlite", routes=routes, credentials=credentials, patience=patience) as web:
            yield web


def fetch_gbif(web: Web, path: Path) -> bytes:
    key = web.post(f"{GBIF}/occurrence/download/request", EVERYTHING, authenticate=True).content.decode()
    told = {"status": ""}
    while told["status"] != "SUCCEEDED":
        told = web.get(f"{GBIF}/occurrence/download/{key}").json()
    return download(web, told["downloadLink"], path).path.read_bytes()


def occurrences(archive: bytes) -> pd.DataFrame:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        text = io.BytesIO(opened.read("occurrence.txt"))
    return pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False, quoting=3).set_index("gbifID")


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    files = (path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fetch_tables(web: Web) -> dict[str, bytes]:
    return {name: web.get(f"{BUCKET}/{name}.csv.gz").content for name in TABLES}


@pytest.fixture(scope="module")
def served(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, dict[str, bytes]]]:
    """GBIF's archive and iNaturalist's tables of three months, served one after the other with one state."""
    folder = tmp_path_factory.mktemp("served")
    out = {}
    for month in ("2026-10", "2026-11", "2026-12"):
        with asked(tiny_world, folder / "state", month) as web:
            out[month] = fetch_gbif(web, folder / f"{month}.zip"), fetch_tables(web)
    return out


def test_the_first_month_does_not_depend_on_later_ones(
    tiny_world: Path, unchanging: Path, tmp_path: Path, served: dict[str, tuple[bytes, dict[str, bytes]]]
) -> None:
    first = ("gbif/*.zip", "photos/photos.zip", "try/*", "chelsa/*", "soilgrids/*", "splotopen/*", "products/*",
             "truth/*.tif")  # fmt: skip
    assert digests(tiny_world, *first) == digests(unchanging, *first)
    with asked(unchanging, tmp_path / "state", None) as web:
        assert fetch_gbif(web, tmp_path / "all.zip") == served["2026-10"][0]
        assert fetch_tables(web) == served["2026-10"][1]
    truths = [pd.read_parquet(world / "truth" / "records.parquet") for world in (tiny_world, unchanging)]
    there = truths[0][truths[0]["first_month"] == "2026-10"].drop(columns="last_month")
    pd.testing.assert_frame_equal(there, truths[1].drop(columns="last_month"))
    assert (truths[1]["last_month"] == "").all()
    assert pd.read_parquet(unchanging / "truth" / "changes.parquet").empty


def test_a_world_that_does_not_change_serves_the_same_every_month(unchanging: Path) -> None:
    first = WorldRecords.of_world(unchanging)
    for month in MONTHS:
        pd.testing.assert_frame_equal(WorldRecords.of_world(unchanging, month).occurrences, first.occurrences)


def test_each_month_changes_by_its_share(changes: pd.DataFrame) -> None:
    # 2 % of 267 records
    assert changes.groupby("month")["kind"].value_counts().unstack().to_numpy().tolist() == [[5, 5, 5]] * 6
    assert sorted(changes["month"].unique()) == MONTHS
    assert set(changes.loc[changes["kind"] == "changed", "what"]) <= set(CHANGES)
    assert (changes.loc[changes["kind"] != "changed", "what"] == "").all()
    assert not changes[changes["kind"] != "changed"].duplicated(["kind", "gbifID"]).any()


@pytest.mark.parametrize(("before", "month"), [("2026-10", "2026-11"), ("2026-11", "2026-12")])
def test_gbif_serves_exactly_what_was_planted(
    served: dict[str, tuple[bytes, dict[str, bytes]]], changes: pd.DataFrame, before: str, month: str
) -> None:
    old, new = occurrences(served[before][0]), occurrences(served[month][0])
    now = changes[changes["month"] == month]
    ids = {kind: set(part["gbifID"]) for kind, part in now.groupby("kind")}
    assert set(new.index) - set(old.index) == ids["added"]
    assert set(old.index) - set(new.index) == ids["retracted"]
    both = old.index.intersection(new.index)
    differs = old.loc[both] != new.loc[both]
    assert set(both[differs.any(axis=1)]) == ids["changed"]
    for row in now[now["kind"] == "changed"].itertuples():
        columns = set(differs.columns[differs.loc[row.gbifID]]) - {"lastInterpreted"}
        allowed = {"place": PLACE, "name": NAME, "licence": ["license"]}[row.what]
        assert columns
        assert columns <= set(allowed)
    added = new.loc[sorted(ids["added"])]
    assert (added["eventDate"].str[:7] <= month).all()
    assert (new.loc[sorted(ids["added"] | ids["changed"]), "lastInterpreted"] == f"{month}-28T04:00:00.000Z").all()


def tables_of(served: dict[str, bytes]) -> dict[str, pd.DataFrame]:
    return {
        name: pd.read_csv(io.BytesIO(gzip.decompress(text)), sep="\t", quoting=3, keep_default_na=False, dtype=str)
        for name, text in served.items()
    }


def test_inaturalist_serves_exactly_what_was_planted(
    served: dict[str, tuple[bytes, dict[str, bytes]]], changes: pd.DataFrame
) -> None:
    old, new = (tables_of(served[month][1]) for month in ("2026-10", "2026-11"))
    known = occurrences(served["2026-11"][0])
    ours = changes["occurrenceID"].str.startswith("https://www.inaturalist.org/")
    now = changes[(changes["month"] == "2026-11") & ours]
    counts = now["kind"].value_counts()
    before, after = (x["observations"].set_index("observation_uuid") for x in (old, new))
    both = before.index.intersection(after.index)
    assert len(after.index.difference(before.index)) == counts["added"]
    assert len(before.index.difference(after.index)) == counts["retracted"]
    seen = (before.loc[both] != after.loc[both]).any(axis=1)
    assert seen.sum() == (now["what"].isin(["place", "name"])).sum()
    photos = old["photos"].merge(new["photos"], on="photo_id")
    licences = photos[photos["license_x"] != photos["license_y"]]
    assert licences["observation_uuid_x"].nunique() == (now["what"] == "licence").sum()
    for name, key in (("taxa", "taxon_id"), ("observers", "observer_id")):
        pd.testing.assert_frame_equal(new[name].head(len(old[name])), old[name])
        assert new[name][key].is_unique
    names = new["taxa"].set_index("taxon_id")["name"]
    first = now.loc[now["kind"] == "added", "gbifID"].iloc[0]
    assert known.loc[first, "species"] in set(names.loc[after.loc[after.index.difference(before.index), "taxon_id"]])


def test_photos_of_added_records_can_be_had(tiny_world: Path, changes: pd.DataFrame, tmp_path: Path) -> None:
    truth = pd.read_parquet(tiny_world / "truth" / "records.parquet")
    added = truth[truth["first_month"] == "2026-11"]
    assert set(added["gbifID"].astype(str)) == set(
        changes.loc[(changes["month"] == "2026-11") & (changes["kind"] == "added"), "gbifID"]
    )
    fine = added.loc[added["photo_state"] == "ok", "photo_id"]
    with asked(tiny_world, tmp_path / "state", "2026-11") as web:
        for photo in fine:
            content = web.get(f"{BUCKET}/photos/{photo}/original.jpg").content
            with Image.open(io.BytesIO(content)) as image:
                assert min(image.size) == 96
        listing = web.get(f"{BUCKET}/", params={"list-type": 2, "prefix": f"photos/{fine.iloc[0]}/"}).content
        assert f"photos/{fine.iloc[0]}/original.jpg".encode() in listing
        later = truth.loc[(truth["first_month"] == "2026-12") & (truth["photo_state"] == "ok"), "photo_id"]
        listing = web.get(f"{BUCKET}/", params={"list-type": 2, "prefix": f"photos/{later.iloc[0]}/"}).content
        assert b"<Key>" not in listing
    assert truth["photo_id"].is_unique


def test_the_truth_knows_when_a_record_is_published(tiny_world: Path, changes: pd.DataFrame) -> None:
    truth = pd.read_parquet(tiny_world / "truth" / "records.parquet").astype({"gbifID": str})
    for month in ["2026-10", *MONTHS]:
        there = (truth["first_month"] <= month) & ((truth["last_month"] == "") | (truth["last_month"] >= month))
        published = WorldRecords.of_world(tiny_world, month).occurrences["gbifID"]
        assert set(truth.loc[there, "gbifID"]) == set(published)
    assert truth[[name for name in truth if name.startswith("true_")]].notna().all().all()
    assert set(truth.loc[truth["last_month"] != "", "gbifID"]) == set(
        changes.loc[changes["kind"] == "retracted", "gbifID"]
    )


def test_corrected_places_are_near_or_true(tiny_world: Path, changes: pd.DataFrame) -> None:
    truth = pd.read_parquet(tiny_world / "truth" / "records.parquet").astype({"gbifID": str}).drop_duplicates("gbifID")
    truth = truth.set_index("gbifID")
    moved = 0
    for month, before in zip(MONTHS, ["2026-10", *MONTHS], strict=False):
        old, new = (WorldRecords.of_world(tiny_world, x).occurrences.set_index("gbifID") for x in (before, month))
        rows = changes[(changes["month"] == month) & (changes["what"] == "place")]["gbifID"]
        old, new = (x.loc[rows, PLACE[:2]].astype(float).to_numpy() for x in (old, new))
        true = truth.loc[rows, ["true_latitude", "true_longitude"]].to_numpy()
        step = (new - old) * np.column_stack([np.ones(len(new)), np.cos(np.deg2rad(old[:, 0]))]) * 111.2
        near = np.hypot(*step.T)
        mended = (np.abs(new - true) < 1e-6).all(axis=1)
        assert (mended | ((near > 0.29) & (near < 6.01))).all()
        moved += len(rows)
    assert moved > 5


@pytest.mark.parametrize(
    ("month", "folder"), [(None, ""), ("2026-09", ""), ("2026-12", "2026-12"), ("2030-01", "2027-04")]
)
def test_the_archive_of_a_month(tiny_world: Path, month: str | None, folder: str) -> None:
    assert WorldRecords.of_world(tiny_world, month).archive.parent == tiny_world / "gbif" / folder


def test_a_download_belongs_to_its_month(tiny_world: Path, tmp_path: Path, changes: pd.DataFrame) -> None:
    with asked(tiny_world, tmp_path / "state", "2026-12") as web:
        later = occurrences(fetch_gbif(web, tmp_path / "later.zip"))
    with asked(tiny_world, tmp_path / "state", "2026-11") as web:
        earlier = occurrences(fetch_gbif(web, tmp_path / "earlier.zip"))
    added: Callable[[str], set[str]] = lambda month: set(  # noqa: E731
        changes.loc[(changes["month"] == month) & (changes["kind"] == "added"), "gbifID"]
    )
    assert added("2026-12") <= set(later.index)
    assert added("2026-12").isdisjoint(earlier.index)


def test_a_month_that_is_none_is_refused(tiny_world: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"errors\.log"), serve(tiny_world, state=tmp_path, month="next"):
        pass
    assert "expected YYYY-MM" in (tmp_path / "errors.log").read_text()


@pytest.mark.parametrize(
    "wrong", [{"first_month": "2026-13"}, {"later_months": -1}, {"monthly_change": 0.5}, {"monthly_change": -0.01}]
)
def test_settings_that_make_no_months_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WorldSettings.model_validate(wrong)
