"""Thumbnails of a shard's photos: the same picture small, nothing else of the shard read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maps.stages.thumbnails import draw_thumbnails, read_thumbnails, write_thumbnails
from plant_traits.errors import TableError
from plant_traits.schemas import PHOTO


def jpeg(red: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(red).integers(0, 60, (240, 320, 3), dtype=np.uint8)
    pixels[..., 0] = red
    Image.fromarray(pixels).save(out, format="JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Return a shard of six photos, two to a part of its file; the third is no picture."""
    images = [jpeg(40 * number) for number in range(6)]
    images[2] = b"not a picture"
    table = pd.DataFrame({"photo_id": [f"p{n}" for n in range(6)], "image": images, "status": "ok", "sha256": "x"})
    (tmp_path / "shard").mkdir()
    pq.write_table(
        pa.Table.from_pandas(table, schema=PHOTO, preserve_index=False).replace_schema_metadata(None),
        tmp_path / "shard" / "photos.parquet",
        row_group_size=2,
    )
    return tmp_path / "shard"


def test_the_asked_photos_are_made_small(shard: Path) -> None:
    drawn = draw_thumbnails(shard, ["p5", "p1"]).set_index("photo_id")
    assert sorted(drawn.index) == ["p1", "p5"]
    for photo, red in (("p1", 40), ("p5", 200)):
        picture = Image.open(io.BytesIO(drawn.loc[photo, "picture"]))
        assert picture.size == (160, 120)
        assert np.asarray(picture)[..., 0].mean() == pytest.approx(red, abs=8)
    assert drawn["reason"].isna().all()


def test_a_photo_that_is_no_picture_has_a_reason(shard: Path) -> None:
    (row,) = draw_thumbnails(shard, ["p2"]).to_dict("records")
    assert row["picture"] is None
    assert row["reason"]


def test_a_table_comes_back_as_it_was_drawn(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    summary = write_thumbnails(tmp_path / "out", shard=shard, photos=["p0", "p2", "p3"])
    assert summary == {"in": {"photos": 3}, "out": {"thumbnails": 2}}
    pd.testing.assert_frame_equal(read_thumbnails(tmp_path / "out"), draw_thumbnails(shard, ["p0", "p2", "p3"]))


def test_pictures_elsewhere_in_the_shard_are_not_read(shard: Path) -> None:
    file = shard / "photos.parquet"
    last = pq.ParquetFile(file).metadata.row_group(2).column(PHOTO.get_field_index("image"))
    content = bytearray(file.read_bytes())
    start = last.dictionary_page_offset or last.data_page_offset
    content[start : start + last.total_compressed_size] = bytes(last.total_compressed_size)
    file.write_bytes(content)
    assert draw_thumbnails(shard, ["p0", "p3"])["picture"].notna().all()
    with pytest.raises(TableError, match="not a readable Parquet file"):
        draw_thumbnails(shard, ["p4"])


@pytest.mark.parametrize("content", [b"", b"PAR1 is not enough"])
def test_a_damaged_shard_is_named(shard: Path, content: bytes) -> None:
    (shard / "photos.parquet").write_bytes(content)
    with pytest.raises(TableError, match=r"photos\.parquet: not a readable Parquet file"):
        draw_thumbnails(shard, ["p0"])


def test_another_table_is_refused(shard: Path) -> None:
    pq.write_table(pa.table({"photo_id": ["p0"]}), shard / "photos.parquet")
    with pytest.raises(TableError, match="expected columns"):
        draw_thumbnails(shard, ["p0"])
