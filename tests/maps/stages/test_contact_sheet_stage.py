"""The stage that makes the page of photos, from shards, predictions and a model as they lie in folders."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maps.stages.contact_sheet import SheetFolders, write_photos_page
from maps.stages.thumbnails import read_thumbnails, write_thumbnails
from plant_traits.covariates.biomes import NEEDED
from plant_traits.errors import InputError, ModelError
from plant_traits.model.checkpoint import load_model, save_model
from plant_traits.model.features import PhotoFeatures, write_features
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.schemas import PHOTO, PREDICTION, SHARD_ROW, write_table
from plant_traits.stages.covariates import write_points

ModelMaker = Callable[[dict[str, Any]], Path]

DESERT = (21.1, 28.0, 12.9, np.log1p(43), np.log1p(17), np.log1p(5))
UNKNOWN = (np.nan,) * 6
JPEG, GREY = "picture", "grey"


def jpeg(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, format="JPEG")
    return out.getvalue()


def write_shard(folder: Path, model_id: str, records: Sequence[dict[str, Any]]) -> SheetFolders:
    """Write what a run leaves of these records; each predicts 1.2 m and 14 m²/kg with a variance of 0.25.

    A record tells id, form, climate, licence, attribution, fetched (status of its file), encoded and modalities.
    """
    ids = [record["id"] for record in records]
    table = pd.DataFrame({name: [None] * len(records) for name in SHARD_ROW.names}).assign(
        observation_id=[f"o{x}" for x in ids],
        photo_id=[None if record["fetched"] is None else f"p{record['id']}" for record in records],
        photo_url=[f"https://example.org/{x}.jpg" for x in ids],
        species=[record.get("species", "Acer rubrum") for record in records],
        growth_form=[record["form"] for record in records],
        latitude=10.0,
        longitude=20.0,
        coordinate_uncertainty_m=1.0,
        licence=[record["licence"] for record in records],
        attribution=[record["attribution"] for record in records],
    )
    folder.mkdir()
    write_table(table, folder / "observations.parquet", SHARD_ROW)
    photos = [record for record in records if record["fetched"] is not None]
    images = [jpeg(number) if record["fetched"] == "ok" else None for number, record in enumerate(photos)]
    held = pd.DataFrame(
        {
            "photo_id": [f"p{record['id']}" for record in photos],
            "image": images,
            "status": [record["fetched"] for record in photos],
            "sha256": None,
        }
    )
    write_table(held, folder / "photos.parquet", PHOTO)
    hashes = hashes_of_bytes([bytes([number + 1]) * 32 for number in range(len(photos))])
    features = PhotoFeatures(
        tuple(held["photo_id"]),
        hashes,
        np.ones((len(photos), 2), dtype=np.float32),
        tuple(record["encoded"] for record in photos),
        "e",
    )
    write_features(features, folder / "features.parquet")
    write_points(folder, np.array([record["climate"] for record in records], dtype=np.float32), NEEDED)
    rows = table.loc[table.index.repeat(2), ["observation_id", "photo_id"]].reset_index(drop=True)
    predictions = rows.assign(
        trait=["height", "sla"] * len(records),
        mean=[np.log(1.2), np.log(14)] * len(records),
        variance_aleatoric=0.2,
        variance_epistemic=0.05,
        model_id=model_id,
        modalities=np.repeat([record["modalities"] for record in records], 2),
        status="ok",
    )
    write_table(predictions, folder / "predictions.parquet", PREDICTION)
    return SheetFolders(folder, folder, folder, folder)


def record(number: int, **values: object) -> dict[str, Any]:
    return {
        "id": number, "form": "tree", "climate": DESERT, "licence": "CC-BY-4.0", "attribution": "Ada", "fetched": "ok",
        "encoded": "ok", "modalities": "image+geospatial",
    } | values  # fmt: skip


@pytest.fixture
def run(make_model: ModelMaker, tmp_path: Path) -> tuple[Path, list[SheetFolders]]:
    model = make_model({})
    model_id = load_model(model).model_id
    first = [
        record(1),
        record(2, form="herb", climate=UNKNOWN, modalities="image", licence="CC0-1.0", attribution=None),
        record(3, licence=None, attribution=None),
        record(4, fetched="gone", encoded="missing", modalities="geospatial", licence=None),
        record(5, encoded="blank", modalities="geospatial"),
    ]
    second = [
        record(6, form=None, licence="CC-BY-ND-4.0"),
        record(7, fetched=None, modalities="geospatial"),
        record(8, species="Quercus alba"),
        record(9, encoded="ok", modalities="geospatial"),
    ]
    return model, [write_shard(tmp_path / f"shard{i}", model_id, rows) for i, rows in enumerate((first, second))]


def page_of(folder: Path) -> str:
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", (folder / "photos.html").read_text(encoding="utf-8"), flags=re.S)
    return " ".join(text.split())


def write(destination: Path, run: tuple[Path, list[SheetFolders]], **values: Any) -> dict[str, Any]:  # noqa: ANN401
    destination.mkdir()
    return write_photos_page(
        destination, shards=run[1], model=run[0], title="Photos", **({"simulated": False} | values)
    )


def test_every_photo_is_shown_or_counted_with_its_reason(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    summary = write(tmp_path / "page", run)
    assert summary == {
        "in": {"photos": 8},
        "out": {"photos predicted": 5, "photos shown": 3, "photos listed": 5},
        "lost": {"photo blank": 1, "photo gone": 1, "photo not encoded": 1},
        "not shown": {
            "licence does not allow it": 1, "licence not recorded": 1, "beyond the limit": 0, "picture not readable": 0,
        },
    }  # fmt: skip
    text = page_of(tmp_path / "page")
    assert "8 photos in this run" in text
    assert "no longer at its source 1" in text
    assert "blank picture 1" in text


def test_intervals_are_those_of_the_records_group(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    write(tmp_path / "page", run)
    text = page_of(tmp_path / "page")
    # A standard deviation of 0.5: once it for trees where it is arid, twice for what no group of its own is known of.
    assert "Acer rubrum Plant height 1.2 m (0.73–2.0) Specific leaf area 14 m² kg⁻¹ (8.5–23)" in text
    assert "Herb (1) Acer rubrum Plant height 1.2 m (0.44–3.3) Specific leaf area 14 m² kg⁻¹ (5.2–38)" in text


def test_an_interval_that_could_not_be_calibrated_is_the_models_own_and_says_so(
    run: tuple[Path, list[SheetFolders]], tmp_path: Path
) -> None:
    known = load_model(run[0])
    endless = replace(known.calibration, quantile=np.full_like(known.calibration.quantile, np.inf))
    model = replace(known, calibration=endless)
    (tmp_path / "endless").mkdir()
    save_model(model, tmp_path / "endless")
    shard = write_shard(tmp_path / "alone", model.model_id, [record(1)])
    write(tmp_path / "page", (tmp_path / "endless", [shard]))
    # ± 1.645 standard deviations of 0.5
    assert "Plant height 1.2 m (0.53–2.7, unchecked)" in page_of(tmp_path / "page")


def test_pictures_without_a_licence_are_left_out_unless_asked_for(
    run: tuple[Path, list[SheetFolders]], tmp_path: Path
) -> None:
    write(tmp_path / "open", run)
    markup = (tmp_path / "open" / "photos.html").read_text(encoding="utf-8")
    assert markup.count("data:image/jpeg;base64,") == 3
    assert "Not to be passed on." not in markup
    summary = write(tmp_path / "all", run, show_unlicensed=True)
    markup = (tmp_path / "all" / "photos.html").read_text(encoding="utf-8")
    assert summary["out"]["photos shown"] == markup.count("data:image/jpeg;base64,") == 5
    assert "Not to be passed on." in markup
    assert "2 photos of this run have no licence on record" in page_of(tmp_path / "all")


def test_the_limit_holds_and_says_what_it_left_out(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    summary = write(tmp_path / "page", run, limit=2)
    assert summary["out"]["photos shown"] == 2
    assert summary["not shown"]["beyond the limit"] == 1
    text = page_of(tmp_path / "page")
    assert "2 of 3 photos that may be shown were chosen" in text
    assert "Herb (1)" in text
    assert "Tree (1)" in text


def test_the_order_of_the_shards_does_not_matter(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    write(tmp_path / "one", run)
    write(tmp_path / "other", (run[0], run[1][::-1]))
    assert (tmp_path / "one/photos.html").read_bytes() == (tmp_path / "other/photos.html").read_bytes()


def test_without_shards_there_is_an_empty_page(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    summary = write(tmp_path / "page", (run[0], []))
    assert summary["in"] == {"photos": 0}
    assert "0 photos in this run" in page_of(tmp_path / "page")


def test_bad_requests_are_refused(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 photo, found 0"):
        write(tmp_path / "a", run, limit=0)
    with pytest.raises(ModelError, match="calibrated levels"):
        write(tmp_path / "b", run, level=0.8)


def test_predictions_of_another_model_or_shard_are_refused(
    run: tuple[Path, list[SheetFolders]], tmp_path: Path
) -> None:
    _, shards = run
    path = shards[0].predictions / "predictions.parquet"
    table = pd.read_parquet(path)
    write_table(table.assign(model_id="another"), path, PREDICTION)
    with pytest.raises(InputError, match=r"found those of \['another'\]"):
        write(tmp_path / "a", run)
    write_table(table[table["photo_id"] != "p3"], path, PREDICTION)
    with pytest.raises(InputError, match="1 photos of shard0 have no prediction"):
        write(tmp_path / "b", run)


def test_photos_of_rows_that_are_not_live_are_not_shown(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    model, (first, second) = run
    live = tmp_path / "live"
    live.mkdir()
    rows = pd.read_parquet(first.shard / "observations.parquet")
    write_table(rows[rows["photo_id"].isin(["p2", "p5"])], live / "observations.parquet", SHARD_ROW)
    shards = [replace(first, live=live), replace(second, live=second.shard)]
    summary = write(tmp_path / "page", (model, shards))
    assert summary["in"] == {"photos": 8 - 3}
    assert summary["lost"] == {"photo blank": 1, "photo not encoded": 1}  # nor photo 4, which is gone
    text = page_of(tmp_path / "page")
    assert "5 photos in this run" in text


def test_thumbnails_that_are_kept_make_the_same_page(run: tuple[Path, list[SheetFolders]], tmp_path: Path) -> None:
    _, shards = run
    asked: dict[int, list[str]] = {}

    def kept(number: int, photos: Sequence[str]) -> pd.DataFrame:
        asked[number] = list(photos)
        folder = tmp_path / f"thumbnails{number}"
        folder.mkdir()
        write_thumbnails(folder, shard=shards[number].shard, photos=photos)
        return read_thumbnails(folder)

    write(tmp_path / "anew", run)
    write(tmp_path / "kept", run, drawn=kept)
    assert asked == {0: ["p1", "p2"], 1: ["p8"]}
    assert (tmp_path / "kept" / "photos.html").read_bytes() == (tmp_path / "anew" / "photos.html").read_bytes()
