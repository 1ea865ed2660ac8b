"""Stage: small pictures of a few photos of one shard, which stay as they are while the shard and the choice do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maps.report.contact_sheet import thumbnail_or_reason
from plant_traits.errors import TableError
from plant_traits.observations.shards import PHOTOS_FILE
from plant_traits.schemas import PHOTO, read_table, write_table
from plant_traits.steps import Summary

THUMBNAILS_FILE = "thumbnails.parquet"
THUMBNAIL = pa.schema([("photo_id", pa.string()), ("picture", pa.binary()), ("reason", pa.string())])


def draw_thumbnails(shard: Path, photos: Collection[str]) -> pd.DataFrame:
    """Make the pictures of a page small, of photos of one shard.

    Only the parts of the shard's file that hold one of the photos are read.

    Args:
        shard: the shard's folder.
        photos: ids of photos that it holds.

    Returns:
        One row per photo: ``photo_id``, ``picture`` (JPEG) or None, and then the ``reason``.

    Raises:
        TableError: the photos' file is not there or not what it should be.
    """
    rows, wanted = [], set(photos)
    file = shard / PHOTOS_FILE
    try:
        with pq.ParquetFile(file) as parquet:
            if parquet.schema_arrow.remove_metadata() != PHOTO:
                raise TableError(f"{file}: expected columns {PHOTO}, found {parquet.schema_arrow}")
            for k in range(parquet.num_row_groups):
                if wanted.isdisjoint(parquet.read_row_group(k, columns=["photo_id"])["photo_id"].to_pylist()):
                    continue
                batch = parquet.read_row_group(k, columns=["photo_id", "image"]).to_pandas()
                chosen = batch[batch["photo_id"].isin(wanted)]
                rows += [(photo, *thumbnail_or_reason(image)) for photo, image in chosen.to_numpy()]
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{file}: not a readable Parquet file ({error}); make the shard again") from error
    return pd.DataFrame(rows, columns=THUMBNAIL.names)


def write_thumbnails(destination: Path, *, shard: Path, photos: Collection[str]) -> Summary:
    """Write ``thumbnails.parquet``; see ``draw_thumbnails``."""
    drawn = draw_thumbnails(shard, photos)
    write_table(drawn, destination / THUMBNAILS_FILE, THUMBNAIL)
    return {"in": {"photos": len(photos)}, "out": {"thumbnails": int(drawn["picture"].notna().sum())}}


def read_thumbnails(folder: Path) -> pd.DataFrame:
    """Return the output of ``write_thumbnails``, as ``draw_thumbnails`` returns it."""
    return read_table(folder / THUMBNAILS_FILE, THUMBNAIL)
