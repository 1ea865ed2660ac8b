from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from plant_traits.errors import InputError, MissingInputError, PhotoError, TableError
from plant_traits.sources.coordinates_parquet import read_coordinates_parquet
from plant_traits.sources.input_files import input_files
from plant_traits.sources.licences import normalise_licence, stricter_licence
from plant_traits.sources.photo_ids import photo_ids
from plant_traits.sources.photo_table import read_photo_table
from plant_traits.sources.photos import open_photos


def coordinates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "species": ["Pinus pinea", "Pinus pinea", "Acacia dealbata"],
            "decimallongitude": [1.5, 1.5, -3.0],
            "decimallatitude": [40.0, 40.0, 41.0],
            "source": ["BIEN", "BIEN", "GBIF"],
        }
    )


def test_ids_of_bare_coordinates_depend_on_content_alone(tmp_path: Path) -> None:
    frame = coordinates()
    frame.to_parquet(tmp_path / "a.parquet")
    frame.iloc[::-1].to_parquet(tmp_path / "b.parquet", index=False)
    ids = read_coordinates_parquet(tmp_path / "a.parquet", "merged")["occurrence_id"]
    assert ids.is_unique
    assert set(ids) == set(read_coordinates_parquet(tmp_path / "b.parquet", "merged")["occurrence_id"])
    assert ids[0][:32] == ids[1][:32]
    # a literal: ids must stay the same from release to release, or every observation would seem new
    assert ids[2] == "b63ff2afbc5d9dd65be62a61289cefc4-0"


def test_a_parquet_without_coordinates_is_refused(tmp_path: Path) -> None:
    coordinates().drop(columns="decimallatitude").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(TableError, match="decimallatitude"):
        read_coordinates_parquet(tmp_path / "a.parquet", "merged")
    (tmp_path / "b.parquet").write_text("<html>")
    with pytest.raises(TableError, match="not a readable Parquet"):
        read_coordinates_parquet(tmp_path / "b.parquet", "merged")
    with pytest.raises(MissingInputError):
        read_coordinates_parquet(tmp_path / "c.parquet", "merged")


TABLE = """img_name,scientific_name,observed_on,observation_url,image_url,taxon_family_name,taxon_genus_name
one.jpg,Bellis perennis,2020-03-27,https://inat/1,https://x/photos/64/medium.jpeg,Asteraceae,Bellis
two.jpg,Bellis perennis,,https://inat/2,https://x/photos/65/medium.jpg,Asteraceae,Bellis
../three.jpg,Bellis perennis,2020-03-28,https://inat/3,https://x/photos/66/medium.jpg,Asteraceae,Bellis
"""


def test_the_photo_table_states_one_place(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(TABLE)
    frame = read_photo_table(tmp_path / "p.csv", "ucsc")
    assert frame["photo_id"].tolist() == ["64", "65", "66"]
    assert frame[["latitude", "longitude", "coordinate_uncertainty_m"]].drop_duplicates().to_numpy().tolist() == [
        [36.99, -122.06, 1500.0]
    ]
    assert frame["observed_on"].isna().tolist() == [False, True, False]
    (tmp_path / "q.csv").write_text(TABLE.replace("image_url", "picture"))
    with pytest.raises(TableError, match="image_url"):
        read_photo_table(tmp_path / "q.csv", "ucsc")


def test_a_photo_folder_reads_by_its_table_and_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(TABLE)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "one.jpg").write_bytes(b"jpeg")
    (tmp_path / "three.jpg").write_bytes(b"secret")
    with open_photos("folder", tmp_path / "p") as photos:
        assert "64" in photos
        assert "67" not in photos
        assert photos.read("64") == b"jpeg"
        for photo_id, reason in (("65", "missing"), ("66", "unreadable"), ("67", "missing")):
            with pytest.raises(PhotoError) as caught:
                photos.read(photo_id)
            assert caught.value.reason == reason
        with (tmp_path / "p" / "two.jpg").open("wb") as out:
            out.truncate(26 * 1024**2)
        with pytest.raises(PhotoError) as caught:
            photos.read("65")
        assert caught.value.reason == "too_large"
    with pytest.raises(MissingInputError), open_photos("folder", tmp_path / "absent"):
        pass


def test_an_unknown_photo_reader_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bucket-zip, folder"):
        open_photos("ftp", tmp_path)


def test_a_photo_is_known_by_its_number_or_its_address() -> None:
    url = pd.Series(
        ["https://h/photos/12/original.jpg", "https://static/x/photos/12/small.png", "https://h/a.jpg", None]
    )
    ids = photo_ids(url)
    assert ids.tolist()[:2] == ["12", "12"]
    assert ids[2].startswith("url-")
    assert len(ids[2]) == 36
    assert pd.isna(ids[3])


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/licenses/by/4.0/legalcode", "CC-BY-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC0_1_0", "CC0-1.0"),
        ("CC-BY-NC-SA", "CC-BY-NC-SA"),
        ("CC0", "CC0"),
        ("© the author, all rights reserved", "© the author, all rights reserved"),
    ],
)
def test_licences_are_written_one_way(text: str, licence: str) -> None:
    assert normalise_licence(text) == licence
    assert normalise_licence(licence) == licence


def test_the_stricter_licence_wins() -> None:
    record = pd.Series(["CC0_1_0", "CC_BY_NC_4_0", "CC_BY_4_0", None, None, "CC0_1_0"])
    photo = pd.Series(["CC-BY", "CC-BY", None, "CC-BY-ND", None, "all rights reserved"])
    found = stricter_licence(record, photo)
    assert found.tolist()[:4] == ["CC-BY", "CC-BY-NC-4.0", "CC-BY-4.0", "CC-BY-ND"]
    assert pd.isna(found[4])
    assert found[5] == "all rights reserved"


def test_inputs_are_found_by_pattern_and_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "gbif").mkdir()
    for name in ("b.zip", "a.zip", "c.txt"):
        (tmp_path / "gbif" / name).write_text("")
    assert [x.name for x in input_files(tmp_path, "gbif/*.zip")] == ["a.zip", "b.zip"]
    assert [x.name for x in input_files(tmp_path, "gbif")] == ["gbif"]
    with pytest.raises(MissingInputError, match=r"\*\.csv"):
        input_files(tmp_path, "gbif/*.csv")
    with pytest.raises(InputError, match="inside"):
        input_files(tmp_path, "../x")


@pytest.mark.real
def test_real_photos_are_all_found(real_data: Path) -> None:
    frame = read_photo_table(real_data / "photos" / "inat_ucsc.csv", "ucsc-photos")
    assert frame["photo_id"].nunique() == 417
    with open_photos("folder", real_data / "photos" / "inat_ucsc") as photos:
        assert all(photos.read(photo_id)[:2] == b"\xff\xd8" for photo_id in frame["photo_id"])
