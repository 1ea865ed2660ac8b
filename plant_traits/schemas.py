"""The declared Arrow schemas of every table that passes between rooms, and the one way to read and write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import TableError


def declare(**fields: str) -> pa.Schema:
    """Return the schema of columns by name, their types as Arrow's aliases."""
    return pa.schema([pa.field(name, pa.type_for_alias(alias)) for name, alias in fields.items()])


OBSERVATION = declare(
    observation_id="string",  # <source>:<dataset>:<id>, stable across snapshots
    photo_id="string",  # null where the record has no photo
    photo_url="string",
    species="string",  # canonical binomial
    taxon_key="string",
    genus="string",
    family="string",
    growth_form="string",  # tree, shrub, herb, or null where unknown
    latitude="float64",
    longitude="float64",
    coordinate_uncertainty_m="float64",
    observed_on="date32",
    observer="string",  # salted hash
    licence="string",
    attribution="string",
    dataset_key="string",
    flags="int64",  # bit set, see observations.flags
    snapshot="string",  # month the record was seen in
)

# What a shard keeps of an observation: not its flags and month, which change while the record stays the same.
SHARD_ROW = pa.schema([field for field in OBSERVATION if field.name not in {"flags", "snapshot"}])

SHARD_PLAN_ROW = declare(  # of each row of a month's observations, in their order
    content_a="uint64",  # 128-bit hash of the row as a shard keeps it
    content_b="uint64",
    shard="int32",  # row of the table of shards
)

SHARD_PLAN = declare(
    shard="string",  # its name
    tile="string",
    cut="int64",  # rows it was cut with
    live="int64",  # rows that the month still holds unchanged
    live_hash="string",  # name that a shard of the live rows alone would have
    new="bool",
)

LEDGER = declare(
    observation_id="string", first_snapshot="string", last_snapshot="string", content_hash="string", state="string"
)

MEASUREMENT = declare(  # a measured trait of a plant at a place
    measurement_id="string",
    species="string",
    growth_form="string",
    latitude="float64",
    longitude="float64",
    trait="string",
    value="float64",  # canonical unit
    source="string",
)

SPECIES_TRAIT = declare(  # the distribution of a trait within a taxon, working space
    taxon="string",
    rank="string",  # species, genus or family
    growth_form="string",
    trait="string",
    n="int64",
    median="float64",
    mean="float64",
    sd="float64",
    q05="float64",
    q25="float64",
    q75="float64",
    q95="float64",
)

SPECIES_RECORD = declare(taxon="string", trait="string", value="float64")  # a single value of a species, working space

PHOTO = declare(photo_id="string", image="binary", status="string", sha256="string")  # status: ok, or why not

PREDICTION = declare(
    observation_id="string",
    photo_id="string",
    trait="string",
    mean="float32",
    variance_aleatoric="float32",
    variance_epistemic="float32",
    model_id="string",
    modalities="string",  # image+geospatial, image, geospatial
    status="string",  # ok, or why not
)

LAND_PREDICTION = declare(  # what a land cell's covariates alone predict, working space
    cell="int64", trait="string", mean="float32", variance_aleatoric="float32", variance_epistemic="float32"
)

MOMENTS = declare(
    cell="int64",
    species="string",
    observer="string",
    trait="string",
    evidence="string",  # photo, or record where no photo informed the prediction
    n="int64",
    sum_w="float64",
    sum_wy="float64",
    sum_wy2="float64",
    sum_y="float64",
    sum_y2="float64",
    sum_v="float64",
    sum_w2="float64",
    sum_aleatoric="float64",  # of v, the part that is variation among plants rather than error of the model
)

ESTIMATE = declare(  # one estimator's result for a cell and trait, working space
    cell="int64",
    trait="string",
    location="float64",
    standard_error="float64",
    interval_lower="float64",  # 95 %
    interval_upper="float64",
    n_photos="int64",
    n_species="int64",
    n_observers="int64",
    n_effective="float64",
    tau2="float64",  # variance among species; null where the cell has one species
    i2="float64",
    variance_among_plants="float64",
)

COMPONENTS = declare(  # what the cells of a trait and biome are told by all of them, working space squared
    evidence="string",
    trait="string",
    biome="string",  # null: all cells together, for those whose biome has too few or is unknown
    species_variance="float64",
    observer_variance="float64",
    species_variance_error="float64",
    observer_variance_error="float64",
    covariance="float64",  # of the two estimates
    concentration="float64",  # chance that two photos of a cell by different observers show one species
    clumping="float64",  # correlation of species among the photos of an observer in a cell
    noise="float64",  # scatter of photos of a species in a cell over what their variances would have it, at most 1
    variance_slope="float64",  # of the logarithm of a photo's variance on its prediction, within cells
    cells="int64",  # that take these values
    cells_of_species="int64",  # with two species or more
    cells_of_observers="int64",
    converged="bool",
)

CELL = declare(  # what is known of a land cell from its photos and from its place together, working space
    cell="int64",
    trait="string",
    location="float64",
    standard_error="float64",  # of the location, calibrated on plots where there are some
    interval_lower="float64",  # 95 %, calibrated likewise
    interval_upper="float64",
    standard_error_raw="float64",  # as the model has it
    interval_raw_lower="float64",
    interval_raw_upper="float64",
    photo_share="float64",  # weight of the photos in the location, 0 to 1; the rest is the geospatial prediction's
    variance_among_plants="float64",
    biome="string",  # null where unknown
)

APPLICABILITY = declare(  # how far a land cell's covariates lie from what a model was trained on
    cell="int64",
    trait="string",
    dissimilarity="float64",  # dissimilarity index; null where too few covariates are known
    outside="bool",  # outside the area of applicability
)

APPLICABILITY_THRESHOLD = declare(
    trait="string",
    threshold="float64",  # largest dissimilarity inside the area of applicability; null where unknown: all lie outside
    mean_distance="float64",  # between training places, weighted standard deviations
    training_places="int64",
)

COVARIATE_IMPORTANCE = declare(trait="string", covariate="string", importance="float64")  # shares, 1 per trait

EFFORT = declare(cell="int64", n_records="int64", n_observers="int64")  # of all vascular plants, before any cap

EFFORT_RECORD = declare(observation_id="string", observer="string", latitude="float64", longitude="float64")

SUBCELL_SUMS = declare(  # photos of a sub-cell, a quarter of a cell's side, working space
    cell="int64",  # of the finer grid
    trait="string",
    n="int64",
    sum_y="float64",
    sum_y2="float64",
    sum_v="float64",
    sum_aleatoric="float64",
)

EXPECTED_BIAS = declare(  # of the mean of a cell's photos, beyond its standard error
    cell="int64",
    trait="string",
    bias_ratio="float64",  # root mean square, standard deviations of the cell's plants; null without plots
    expected_bias="float64",  # root mean square, working space
)

SCORE = declare(
    map="string",
    reference="string",
    trait="string",
    scale="string",  # ln, log1p, natural
    cells="string",  # shared, own
    n="int64",
    pearson_r="float64",
    pearson_r_low="float64",
    pearson_r_high="float64",
    spearman_rho="float64",
    r2="float64",
    bias="float64",
    mae="float64",
    rmse="float64",
    nmae="float64",
    nrmse="float64",
    slope="float64",
)

LABELLED_IMAGE = declare(  # an image of a set made for classification
    image_id="string",
    path="string",  # relative to the set's folder
    class_id="string",
    species="string",  # canonical binomial
    genus="string",
    family="string",  # null where the set does not say
    split="string",  # train, val, test
    licence="string",
    author="string",
    observation_id="string",  # null where the set does not say
)


def write_table(
    frame: pd.DataFrame, path: Path, schema: pa.Schema, metadata: Mapping[bytes, bytes] | None = None
) -> None:
    """Write a frame as Parquet under a declared schema; column order and types are the schema's.

    Args:
        frame: the rows.
        path: the file.
        schema: of the table.
        metadata: kept in the file's schema.

    Raises:
        TableError: a column is missing or does not convert.
    """
    missing = [name for name in schema.names if name not in frame.columns]
    if missing:
        raise TableError(f"{path.name}: columns {missing} are missing; found {list(frame.columns)}")
    try:
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(f"{path.name}: a column does not fit its declared type: {error}") from error
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def read_table(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table written under that schema.

    Raises:
        TableError: the file is not Parquet or its columns are not the schema's.
    """
    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file: {error}") from error
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    if table.schema.remove_metadata() != wanted:
        raise TableError(f"{path}: expected columns {wanted}, found {table.schema.remove_metadata()}")
    frame: pd.DataFrame = table.to_pandas()
    return frame
