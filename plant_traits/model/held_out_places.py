"""What a model says of places it was not trained on, kept with it, so that whoever maps with it knows how far it errs.

The predictions from the place alone for the records of held-out regions, beside what these records were labelled with,
as means by species and tenth of a degree: of the same use to a map, and no table of anybody's records.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import ModelError, TableError
from plant_traits.grid import FloatArray
from plant_traits.model.held_out import HeldOut
from plant_traits.model.trained_model import MODALITIES
from plant_traits.model.training_set import TrainingSet
from plant_traits.schemas import read_table, write_table

HELD_OUT_PLACES = "held_out_places.parquet"

STEP_DEGREES = 0.1
"""Side of the squares that records are put together in."""

HELD_OUT_PLACE = pa.schema(
    [
        pa.field("latitude", pa.float64(), nullable=False),  # degrees, EPSG:4326: the centre of the square
        pa.field("longitude", pa.float64(), nullable=False),
        pa.field("species", pa.string()),
        pa.field("trait", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # records
        pa.field("label", pa.float64(), nullable=False),  # mean of measurements or labels, working space
        pa.field("prediction", pa.float64(), nullable=False),  # mean of the predictions from the place alone
        pa.field("variance", pa.float64(), nullable=False),  # mean of the variances stated, before calibration
    ]
)
"""Held-out predictions of places by square, species and trait."""

_KEYS = ("latitude", "longitude", "species", "trait")
_MODEL_ID = b"model_id"


def held_out_places(held: HeldOut | None, training: TrainingSet, traits: Sequence[str]) -> pd.DataFrame:
    """Gather what was predicted of held-out regions from their places alone.

    Records without coordinates, covariates or a label of the trait are left out.

    Args:
        held: predictions for the records of held-out regions; None where none were held out.
        training: the set that they are rows of.
        traits: ids, in the order of its columns.

    Returns:
        ``HELD_OUT_PLACE``, sorted by its keys.
    """
    if held is None or len(held.rows) == 0:
        return _no_places()
    kind = MODALITIES.index("geospatial")
    latitude, longitude = training.latitude[held.rows], training.longitude[held.rows]
    species = np.array(training.species, dtype=object)[held.rows]
    of_trait = []
    for column, trait in enumerate(traits):
        mean, variance, label = held.mean[kind, :, column], held.variance[kind, :, column], held.centre[:, column]
        usable = held.present[kind] & np.isfinite(latitude) & np.isfinite(longitude)
        usable &= np.isfinite(mean) & np.isfinite(variance) & np.isfinite(label)
        columns = {
            "latitude": _centre(latitude[usable], 90.0),
            "longitude": _centre(longitude[usable], 180.0),
            "species": species[usable],
            "trait": trait,
            "n": 1,
            "label": label[usable],
            "prediction": mean[usable],
            "variance": variance[usable],
        }
        of_trait.append(pd.DataFrame(columns))
    rows = pd.concat(of_trait, ignore_index=True)
    if rows.empty:
        return _no_places()
    # Sums run in the order of the values, so that the order of the records leaves no trace.
    rows = rows.sort_values([*_KEYS, "label", "prediction", "variance"], ignore_index=True)
    grouped = rows.groupby(list(_KEYS), dropna=False, sort=True)
    means = grouped[["label", "prediction", "variance"]].mean()
    table = means.assign(n=grouped["n"].sum()).reset_index()
    table["species"] = table["species"].astype(object).where(table["species"].notna(), None)
    frame: pd.DataFrame = table[HELD_OUT_PLACE.names]
    return frame


def write_held_out_places(places: pd.DataFrame, folder: Path, model_id: str) -> None:
    """Write ``HELD_OUT_PLACE`` into the folder of the model it belongs to.

    Raises:
        TableError: the frame does not match the schema.
    """
    write_table(places, folder / HELD_OUT_PLACES, HELD_OUT_PLACE, {_MODEL_ID: model_id.encode()})


def read_held_out_places(folder: Path, model_id: str) -> pd.DataFrame | None:
    """Read what ``write_held_out_places`` wrote; None for a model that came without.

    Args:
        folder: a model's folder.
        model_id: of the model.

    Raises:
        ModelError: the file is damaged or of another model.
    """
    path = folder / HELD_OUT_PLACES
    if not path.is_file():
        return None
    try:
        found = (pq.read_schema(path).metadata or {}).get(_MODEL_ID, b"").decode(errors="replace")
        table = read_table(path, HELD_OUT_PLACE)
    except (OSError, pa.ArrowException, TableError) as error:
        raise ModelError(f"{path} cannot be read: {error}; copy the model again or train it") from error
    if found != model_id:
        raise ModelError(
            f"{path}: expected predictions of held-out places by model {model_id}, found those of model {found!r}; "
            "copy the model's folder whole, or remove the file"
        )
    return table


def _no_places() -> pd.DataFrame:
    frame: pd.DataFrame = HELD_OUT_PLACE.empty_table().to_pandas()
    return frame


def _centre(degrees: FloatArray, end: float) -> FloatArray:
    """Return the centre of the square of each coordinate, that of the last square at the end of the axis."""
    steps = round(2 * end / STEP_DEGREES)
    at = np.minimum(np.floor((degrees + end) / STEP_DEGREES), steps - 1)
    return np.asarray((at + 0.5) * STEP_DEGREES - end)
