"""iNaturalist's tables agree with GBIF's records, and have what GBIF has not."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.inaturalist_api import InaturalistApi
from plant_traits.simulation.services.world_records import WorldRecords
from plant_traits.simulation.world_file import read_world_file
from plant_traits.simulation.write_identifications import write_identifications
from plant_traits.simulation.write_inaturalist import TABLES, build_taxa, mirrored, write_inaturalist

INAT = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"


@pytest.fixture(scope="module")
def tables(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inaturalist")
    write(tiny_world, folder)
    return folder


def write(world: Path, folder: Path) -> dict[str, int]:
    records = WorldRecords.of_world(world)
    settings, _ = read_world_file(world)
    photos = world / "photos" / "photos.zip"
    return write_inaturalist(records.occurrences, records.media, [photos], settings.seed, folder)


def identify(world: Path, folder: Path) -> int:
    records = WorldRecords.of_world(world).occurrences
    settings, species = read_world_file(world)
    truth = world / "truth" / "records.parquet"
    days = {"first_day": date(2026, 10, 1), "until": date(2026, 11, 1)}
    return write_identifications(records, records, species, truth, settings.seed, folder, **days)


def read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / "bucket" / f"{name}.csv.gz"
    return pd.read_csv(path, sep="\t", quoting=3, keep_default_na=False, dtype=str)


def test_photos_are_those_of_gbifs_records(tables: Path, tiny_world: Path) -> None:
    records = WorldRecords.of_world(tiny_world)
    observations, photos = read(tables, "observations"), read(tables, "photos")
    joined = photos.merge(observations, on="observation_uuid", suffixes=("", "_of"))
    gbif = records.media.merge(records.occurrences[records.occurrences["datasetKey"] == INAT], on="gbifID")
    gbif["photo_id"] = gbif["identifier"].str.extract(r"/photos/(\d+)/", expand=False)
    both = gbif.merge(joined, on="photo_id")
    assert len(both) == len(gbif) > 200
    assert (both["latitude"] == both["decimalLatitude"]).all()
    assert (both["observed_on"] == both["eventDate"].str[:10]).all()
    names = read(tables, "taxa").set_index("taxon_id")["name"]
    assert (names.loc[both["taxon_id"]].to_numpy() == both["species"].to_numpy()).all()
    logins = read(tables, "observers").set_index("observer_id")["login"]
    assert (logins.loc[both["observer_id"]].to_numpy() == both["recordedBy"].to_numpy()).all()
    tame = (both["degreeOfEstablishment"] == "cultivated") | (both["basisOfRecord"] != "HUMAN_OBSERVATION")
    tame |= both["decimalLatitude"] == ""
    assert (both["quality_grade"] == tame.map({True: "casual", False: "research"})).all()
    assert 0 < tame.sum() < 0.1 * len(both)


def test_newer_and_unwanted_observations_are_there_too(tables: Path, tiny_world: Path) -> None:
    observations, photos, taxa = (read(tables, name) for name in ("observations", "photos", "taxa"))
    assert set(observations["quality_grade"]) == {"research", "needs_id", "casual"}
    ancestry = taxa.set_index("taxon_id")["ancestry"].loc[observations["taxon_id"]]
    plants = ancestry.str.startswith("48460/47126/211194/").to_numpy()
    assert 0 < (~plants).sum() < 0.1 * len(observations)
    assert photos["license"].isin(["CC-BY-ND", "CC-BY-SA", "CC-BY-NC-ND", "CC-BY-NC-SA"]).any()
    newer = observations[
        plants & (observations["quality_grade"] == "research") & (observations["observed_on"] > "2026-09-30")
    ]
    with zipfile.ZipFile(tables / "new_photos.zip") as archive:
        members = {name.split("/")[1] for name in archive.namelist()}
    known = len(WorldRecords.of_world(tiny_world).occurrences)
    assert 0.01 * known < len(members) < 0.05 * known
    assert members <= set(photos["photo_id"])
    assert members <= set(photos[photos["observation_uuid"].isin(newer["observation_uuid"])]["photo_id"])


def test_columns_and_keys(tables: Path) -> None:
    found = {name: read(tables, name) for name in TABLES}
    assert " ".join(found["observations"]) == (
        "observation_uuid observer_id latitude longitude positional_accuracy taxon_id quality_grade observed_on "
        "anomaly_score"
    )
    assert " ".join(found["photos"]) == (
        "photo_uuid photo_id observation_uuid observer_id extension license width height position"
    )
    assert list(found["taxa"]) == ["taxon_id", "ancestry", "rank_level", "rank", "name", "active"]
    assert list(found["observers"]) == ["observer_id", "login", "name"]
    assert found["observations"]["observation_uuid"].is_unique
    assert found["photos"]["photo_id"].is_unique
    assert found["taxa"]["taxon_id"].is_unique
    assert set(found["photos"]["observation_uuid"]) == set(found["observations"]["observation_uuid"])


def test_the_same_world_gives_the_same_bytes(tables: Path, tiny_world: Path, tmp_path: Path) -> None:
    write(tiny_world, tmp_path)
    for path in [*(tables / "bucket").iterdir(), tables / "new_photos.zip"]:
        assert (tmp_path / path.relative_to(tables)).read_bytes() == path.read_bytes()


def test_mirrored_is_upright_and_turned_round() -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    out = io.BytesIO()
    tag = Image.Exif()
    tag[0x0112] = 3  # upside down
    image.save(out, "JPEG", exif=tag, quality=95)
    with Image.open(io.BytesIO(mirrored(out.getvalue()))) as turned:
        upright = ImageOps.exif_transpose(turned)
        left, right = upright.getpixel((3, 10)), upright.getpixel((36, 10))
    # upside down, red is left; in the mirror, right
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[2] > 200 > left[0]
    assert right[0] > 200 > right[2]
    assert mirrored(b"no photo") == b"no photo"


@pytest.fixture(scope="module")
def api(tables: Path, tiny_world: Path) -> TestClient:
    identify(tiny_world, tables)
    return TestClient(Starlette(routes=InaturalistApi(lambda: tables).routes()))


def ids(api: TestClient, **query: str | int) -> list[int]:
    return [x["id"] for x in api.get("/v1/observations", params=query).json()["results"]]


def test_pages_by_number_reach_all_observations_once(api: TestClient, tables: Path) -> None:
    total = len(read(tables, "observations"))
    found: list[int] = []
    while page := ids(api, order_by="id", order="asc", per_page=100, id_above=found[-1] if found else 0):
        found += page
    assert found == sorted(set(found))
    assert len(found) == total


def test_pages_are_bounded(api: TestClient) -> None:
    told = api.get("/v1/observations", params={"per_page": 5000}).json()
    assert (told["per_page"], len(told["results"])) == (200, 200)
    assert api.get("/v1/observations", params={"per_page": 200, "page": 50}).status_code == 200
    assert api.get("/v1/observations", params={"per_page": 200, "page": 51}).status_code == 403
    assert api.get("/v1/observations", params={"per_page": "x"}).status_code == 422


def test_filters(api: TestClient, tables: Path) -> None:
    grades = read(tables, "observations")["quality_grade"].value_counts()
    for grade, count in grades.items():
        assert api.get("/v1/observations", params={"quality_grade": str(grade)}).json()["total_results"] == count
    birds = api.get("/v1/observations", params={"taxon_id": 3}).json()
    assert {x["taxon"]["iconic_taxon_name"] for x in birds["results"]} == {"Animalia"}
    plants = api.get("/v1/observations", params={"taxon_id": 211194}).json()
    assert plants["total_results"] + birds["total_results"] == grades.sum()
    box = {"swlat": 0, "swlng": -180, "nelat": 90, "nelng": 0}
    for found in api.get("/v1/observations", params=box).json()["results"]:
        latitude, longitude = map(float, found["location"].split(","))
        assert latitude >= 0 >= longitude
    lately = api.get("/v1/observations", params={"d1": "2026-10-01"}).json()["results"]
    assert lately
    assert all(x["observed_on"] >= "2026-10-01" for x in lately)


def test_observations_have_identifications_and_photos(api: TestClient) -> None:
    first = api.get("/v1/observations", params={"quality_grade": "research", "taxon_id": 211194}).json()["results"][0]
    same = api.get(f"/v1/observations/{first['id']}").json()
    assert (same["total_results"], same["results"][0]) == (1, first)
    own = first["identifications"][0]
    assert own["user"] == first["user"]
    assert own["own_observation"]
    assert own["taxon"]["id"] == first["taxon"]["id"]
    assert [x["rank"] for x in own["taxon"]["ancestors"]] == [
        "stateofmatter", "kingdom", "phylum", "order", "family", "genus",
    ]  # fmt: skip
    assert api.get(f"/v1/taxa/{first['taxon']['id']}").json()["results"][0]["name"] == first["taxon"]["name"]
    assert api.get("/v1/observations/abc").status_code == 422
    assert api.get("/v1/observations/1").json()["results"] == []


def test_observations_are_found_by_their_uuids(api: TestClient, tables: Path) -> None:
    some = read(tables, "observations")["observation_uuid"].iloc[[3, 5]].tolist()
    found = api.get("/v1/observations", params={"uuid": ",".join(some)}).json()
    assert found["total_results"] == 2
    assert {x["uuid"] for x in found["results"]} == set(some)


def everything(api: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        above = found[-1]["id"] if found else 0
        asked = {"order_by": "id", "order": "asc", "per_page": 200, "id_above": above}
        page = api.get("/v1/observations", params=asked).json()["results"]
        if not page:
            return found
        found += page


def test_the_crowd_votes_and_often_corrects_what_is_wrong(api: TestClient, tiny_world: Path) -> None:
    truth = pd.read_parquet(tiny_world / "truth" / "records.parquet").drop_duplicates("occurrenceID")
    true = truth.set_index("occurrenceID")["true_species"]
    told = everything(api)
    votes = [[y for y in x["identifications"] if y["current"]] for x in told]
    assert 0.05 < np.mean([len(x) == 1 for x in votes]) < 0.5
    assert np.mean([2 <= len(x) <= 4 for x in votes]) > 0.5
    wrong = [x for x in told if x["uri"] in true.index and x["species_guess"] != true[x["uri"]]]
    corrected = [any(y["taxon"]["name"] == true[x["uri"]] for y in x["identifications"]) for x in wrong]
    assert 0 < sum(corrected) < len(wrong)
    objected = [y for x in told for y in x["identifications"] if y["disagreement"]]
    assert objected
    assert all(y["previous_observation_taxon"]["id"] == y["previous_observation_taxon_id"] for y in objected)


def test_the_truth_is_in_no_answer_but_as_what_somebody_says(api: TestClient, tiny_world: Path) -> None:
    truth = pd.read_parquet(tiny_world / "truth" / "records.parquet").drop_duplicates("occurrenceID")
    true = truth.set_index("occurrenceID")["true_species"]
    silent = [x for x in everything(api) if x["uri"] in true.index and x["species_guess"] != true[x["uri"]]]
    silent = [x for x in silent if all(y["taxon"]["name"] != true[x["uri"]] for y in x["identifications"])]
    assert silent
    assert all(true[x["uri"]] not in json.dumps(x) for x in silent)


def test_identifications_are_the_same_each_time(api: TestClient, tables: Path, tiny_world: Path) -> None:
    before = (tables / "identifications.parquet").read_bytes()
    assert identify(tiny_world, tables) > 300
    assert (tables / "identifications.parquet").read_bytes() == before


def test_taxa_of_later_months_keep_their_numbers() -> None:
    def lines(*species: str) -> pd.DataFrame:
        rows = [("Rosales", "Rosaceae", x.split()[0], x) for x in species]
        return pd.DataFrame(rows, columns=["order", "family", "genus", "species"])

    first = lines("Rosa alba", "Rosa zeta")
    second, third = lines("Rosa mica"), lines("Aaa bbb", "Rosa mica")
    numbers = [
        build_taxa(first, second).set_index("name")["taxon_id"],
        build_taxa(first, second, third).set_index("name")["taxon_id"],
        build_taxa(first, third).set_index("name")["taxon_id"],
    ]
    assert numbers[0]["Rosales"] == 300_000
    assert numbers[0]["Rosa mica"] == numbers[1]["Rosa mica"] == numbers[2]["Rosa mica"]
    assert numbers[1]["Aaa bbb"] == numbers[2]["Aaa bbb"]
    assert build_taxa(first, second, third)["taxon_id"].is_unique
