"""Pl@ntNet-300K and iNaturalist 2019 in miniature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plant_traits.errors import InputError, MissingInputError
from plant_traits.schemas import LABELLED_IMAGE, read_table, write_table
from plant_traits.simulation.write_plantnet import write_inaturalist2019, write_plantnet300k
from plant_traits.sources.inaturalist2019 import read_inaturalist2019
from plant_traits.sources.labelled_images import LabelledImages
from plant_traits.sources.plantnet300k import METADATA, NAMES, read_plantnet300k

SPECIES = ["Lactuca virosa", "Pelargonium capitatum", "Cirsium arvense", "Trifolium repens", "Sedum album"]
COMPARED = ["image_id", "class_id", "species", "split"]
Reader = Callable[[Path], LabelledImages]
Writer = Callable[[list[str], int, Path], pd.DataFrame]
SETS: list[tuple[Reader, Writer]] = [
    (read_plantnet300k, write_plantnet300k),
    (read_inaturalist2019, write_inaturalist2019),
]


def change(path: Path, how: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(how(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@pytest.mark.parametrize(("reader", "writer"), SETS)
def test_reads_back_what_the_set_holds(tmp_path: Path, reader: Reader, writer: Writer) -> None:
    written = writer(SPECIES, 60, tmp_path)
    plants = written[written["species"] != "Parus major"].sort_values("image_id", ignore_index=True)
    found = reader(tmp_path).images
    assert list(found.columns) == LABELLED_IMAGE.names
    assert found[COMPARED].astype("object").equals(plants[COMPARED].astype("object"))
    assert set(found["split"]) >= {"train", "val"}
    assert all((tmp_path / path).is_file() for path in found["path"])
    assert found["genus"].tolist() == [name.split()[0] for name in found["species"]]
    assert found["author"].notna().all()
    write_table(found, tmp_path / "images.parquet", LABELLED_IMAGE)
    assert len(read_table(tmp_path / "images.parquet", LABELLED_IMAGE)) == 60


def test_licences_are_spelled_in_one_way_and_other_kingdoms_counted(tmp_path: Path) -> None:
    write_plantnet300k(SPECIES, 20, tmp_path / "a")
    write_inaturalist2019(SPECIES, 20, tmp_path / "b")
    assert set(read_plantnet300k(tmp_path / "a").images["licence"]) == {"CC-BY-SA"}
    found = read_inaturalist2019(tmp_path / "b")
    assert set(found.images["licence"]) == {"CC-BY-NC-4.0", "CC0-1.0"}
    assert found.losses == {"other_kingdoms": 2}
    assert set(found.images["family"]) == {"Asteraceae"}


@pytest.mark.parametrize(("reader", "writer"), SETS)
def test_images_that_are_not_there_are_counted_and_links_do_not_count(
    tmp_path: Path, reader: Reader, writer: Writer
) -> None:
    writer(SPECIES, 30, tmp_path / "set")
    before = reader(tmp_path / "set").images
    gone, linked = (tmp_path / "set" / path for path in before["path"].iloc[:2])
    gone.unlink()
    outside = tmp_path / "outside.jpg"
    linked.rename(outside)
    linked.symlink_to(outside)
    found = reader(tmp_path / "set")
    assert found.losses["no_image"] == 2
    assert found.images["image_id"].tolist() == before["image_id"].tolist()[2:]


@pytest.mark.parametrize(("reader", "writer"), SETS)
def test_a_set_without_any_image_is_an_error(tmp_path: Path, reader: Reader, writer: Writer) -> None:
    writer(SPECIES, 10, tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(MissingInputError, match="none of the 10 images"):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("reader", "writer", "file"),
    [
        (read_plantnet300k, write_plantnet300k, METADATA),
        (read_plantnet300k, write_plantnet300k, NAMES),
        (read_inaturalist2019, write_inaturalist2019, "train2019.json"),
        (read_inaturalist2019, write_inaturalist2019, "val2019.json"),
    ],
)
def test_a_missing_or_broken_file_is_an_error(tmp_path: Path, reader: Reader, writer: Writer, file: str) -> None:
    writer(SPECIES, 10, tmp_path)
    path = tmp_path / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(InputError, match="not readable as JSON"):
        reader(tmp_path)
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InputError, match="expected a JSON object"):
        reader(tmp_path)
    path.unlink()
    with pytest.raises(MissingInputError, match="is not there"):
        reader(tmp_path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a//b.jpg", "a\\b.jpg", "..", "a/.hidden.jpg", ""])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    write_plantnet300k(SPECIES, 10, tmp_path / "a")
    change(tmp_path / "a" / METADATA, lambda x: x | {path: next(iter(x.values()))})
    with pytest.raises(InputError, match="not plain paths inside the folder"):
        read_plantnet300k(tmp_path / "a")
    write_inaturalist2019(SPECIES, 10, tmp_path / "b")

    def leave(content: dict[str, Any]) -> dict[str, Any]:
        content["images"][0]["file_name"] = path
        return content

    change(tmp_path / "b" / "train2019.json", leave)
    with pytest.raises(InputError, match="not plain paths inside the folder"):
        read_inaturalist2019(tmp_path / "b")


def test_a_class_that_climbs_out_is_refused(tmp_path: Path) -> None:
    write_plantnet300k(SPECIES, 10, tmp_path)
    change(tmp_path / METADATA, lambda x: {key: value | {"species_id": "../.."} for key, value in x.items()})
    with pytest.raises(InputError, match="not plain paths"):
        read_plantnet300k(tmp_path)


def test_metadata_of_another_version_are_refused(tmp_path: Path) -> None:
    write_plantnet300k(SPECIES, 10, tmp_path)
    change(tmp_path / METADATA, lambda x: {key: value | {"split": "dev"} for key, value in x.items()})
    with pytest.raises(InputError, match="found 'dev'"):
        read_plantnet300k(tmp_path)
    change(tmp_path / METADATA, lambda x: {key: {"species_id": "1"} for key in x})
    with pytest.raises(InputError, match=r"version 1\.1"):
        read_plantnet300k(tmp_path)
    change(tmp_path / METADATA, lambda x: dict.fromkeys(x, 3))
    with pytest.raises(InputError, match=r"version 1\.1"):
        read_plantnet300k(tmp_path)
    change(tmp_path / NAMES, lambda x: dict.fromkeys(x, 3))
    change(tmp_path / METADATA, lambda _: {})
    with pytest.raises(InputError, match="a name per species"):
        read_plantnet300k(tmp_path)


def test_a_class_without_a_name_is_counted(tmp_path: Path) -> None:
    write_plantnet300k(SPECIES, 10, tmp_path)
    change(tmp_path / NAMES, lambda x: {key: value for key, value in x.items() if not value.startswith("Sedum")})
    found = read_plantnet300k(tmp_path)
    assert found.losses["no_species"] == 10 - len(found.images) > 0
    assert "Sedum album" not in set(found.images["species"])


@pytest.mark.parametrize("as_list", [True, False])
def test_published_names_take_the_place_of_obfuscated_ones(tmp_path: Path, as_list: bool) -> None:
    write_inaturalist2019(SPECIES, 20, tmp_path)
    plain = read_inaturalist2019(tmp_path).images
    real = json.loads((tmp_path / "train2019.json").read_text(encoding="utf-8"))["categories"]
    for split in ("train", "val"):
        obfuscated = [category | {"name": f"x{category['id']}", "kingdom": "k1"} for category in real]
        change(tmp_path / f"{split}2019.json", lambda x, names=obfuscated: x | {"categories": names})
    content = real if as_list else {"categories": real}
    (tmp_path / "categories.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_inaturalist2019(tmp_path).images.equals(plain)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda x: x | {"annotations": x["annotations"][1:]}, "one annotation of a known category per image"),
        (lambda x: x | {"categories": x["categories"][:1]}, "lead nowhere"),
        (lambda x: x | {"images": x["images"] + x["images"][:1]}, "occurs twice in images"),
        (lambda x: x | {"images": {"id": 1}}, "list of objects under 'images'"),
        (lambda x: x | {"licenses": [{"id": 0}]}, r"licenses lack \['url'\]"),
        (lambda x: x | {"annotations": [1, 2]}, "list of objects under 'annotations'"),
        (lambda x: {key: value for key, value in x.items() if key != "categories"}, "under 'categories'"),
    ],
)
def test_annotations_that_do_not_join_are_an_error(
    tmp_path: Path, how: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    write_inaturalist2019(SPECIES, 30, tmp_path)
    change(tmp_path / "train2019.json", how)
    with pytest.raises(InputError, match=message):
        read_inaturalist2019(tmp_path)
