"""Join iNaturalist's open-data tables out of core: plants of a region and time, each with its name and first photo."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from plant_traits.errors import TableError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.licences import normalise_licence
from plant_traits.sources.raw_occurrence import raw_occurrences

PHOTO_ADDRESS = "https://inaturalist-open-data.s3.amazonaws.com/photos/{photo_id}/original.{extension}"
_GZIP = b"\x1f\x8b"
_ROWS = 200_000
_SPECIES, _GENUS, _FAMILY = 10, 20, 30  # iNaturalist's levels of these ranks

# Plants, with the names of their species, genus and family, found among their ancestors and themselves.
_PLANTS = f"""
CREATE TABLE plants AS
WITH lineage AS (
    SELECT taxon_id, name, rank_level, unnest(string_split(concat_ws('/', ancestry, taxon_id), '/')) AS member
    FROM taxa
    WHERE list_contains(string_split(concat_ws('/', ancestry, taxon_id), '/'), $root)
)
SELECT
    lineage.taxon_id AS taxon_id,
    any_value(lineage.name) AS name,
    any_value(taxa.name) FILTER (taxa.rank_level = {_SPECIES}) AS species,
    any_value(taxa.name) FILTER (taxa.rank_level = {_GENUS}) AS genus,
    any_value(taxa.name) FILTER (taxa.rank_level = {_FAMILY}) AS family
FROM lineage LEFT JOIN taxa ON taxa.taxon_id = lineage.member
GROUP BY lineage.taxon_id
"""  # noqa: S608 - the numbers above

# Every observation of a plant, with the first reason why it was not asked for.
_OBSERVATIONS = """
CREATE TABLE found AS
SELECT
    observation_uuid, observer_id, plants.taxon_id AS taxon_id,
    try_cast(latitude AS DOUBLE) AS latitude,
    try_cast(longitude AS DOUBLE) AS longitude,
    try_cast(positional_accuracy AS DOUBLE) AS accuracy,
    try_cast(observed_on AS DATE) AS observed_on
FROM {observations} AS o JOIN plants ON plants.taxon_id = o.taxon_id
WHERE {asked}
"""
_REASONS = """
SELECT reason, count(*) FROM (
    SELECT CASE
        WHEN plants.taxon_id IS NULL THEN 'other taxa'
        WHEN NOT ({grade}) THEN 'quality grade'
        WHEN NOT ({place}) THEN 'outside the region'
        WHEN NOT ({time}) THEN 'after the month'
    END AS reason
    FROM {observations} AS o LEFT JOIN plants ON plants.taxon_id = o.taxon_id
) WHERE reason IS NOT NULL GROUP BY reason
"""
_ROWS_WANTED = """
CREATE TABLE photos AS
SELECT observation_uuid, arg_min(
    struct_pack(photo_id := photo_id, extension := extension, license := license),
    struct_pack(place := coalesce(try_cast(position AS BIGINT), 1000000), id := try_cast(photo_id AS BIGINT))
) AS photo
FROM {photos} WHERE observation_uuid IN (SELECT observation_uuid FROM found) AND {licences}
GROUP BY observation_uuid
"""
_RESULT = """
SELECT found.observation_uuid, observers.login, found.observer_id, latitude, longitude, accuracy, observed_on,
    found.taxon_id, plants.name, plants.species, plants.genus, plants.family,
    photo.photo_id AS photo_id, photo.extension AS extension, photo.license AS license
FROM found
JOIN plants ON plants.taxon_id = found.taxon_id
LEFT JOIN photos ON photos.observation_uuid = found.observation_uuid
LEFT JOIN observers ON observers.observer_id = found.observer_id
ORDER BY found.observation_uuid
"""


@dataclass(frozen=True)
class Selection:
    """What is kept of the tables.

    Attributes:
        source: source id of the catalogue.
        taxon: name of the taxon whose descendants are kept.
        quality_grades: grades that are kept.
        licences: licences of photos that are kept, as the tables spell them; None for all.
        region: where.
        month: observations until its last day; those without a date are kept.
    """

    source: str
    taxon: str
    quality_grades: tuple[str, ...]
    licences: tuple[str, ...] | None
    region: Region
    month: Month


def header(path: Path) -> list[str]:
    """Return the column names of a table, which may be compressed whatever its name says.

    Raises:
        TableError: it has no readable first line.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as stream:
            line = stream.readline(100_000)
        return line.decode("utf-8").rstrip("\r\n").split("\t")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a readable table ({error}); remove it and run again") from error


def select_observations(
    tables: Mapping[str, Path],
    selection: Selection,
    *,
    workspace: Path,
    memory_gib: float,
    threads: int,
    not_asked_for: dict[str, int],
) -> Iterator[pd.DataFrame]:
    """Yield the wanted observations, in order of their UUID, one row each with its first photo.

    Species, genus and family come from the taxon's ancestors; a subspecies becomes its species. Each text table is
    streamed, twice for the observations.

    Args:
        tables: ``observations``, ``photos``, ``taxa`` and ``observers``: tab-separated text without quoting.
        selection: what is kept.
        workspace: folder for intermediate tables; it is emptied before and removed after.
        memory_gib: memory for the joins; what is more goes into the workspace.
        threads: threads for the joins.
        not_asked_for: is filled with the number of observations left out, by reason.

    Raises:
        TableError: a table is damaged, or the taxon is not in it or in it twice.
    """
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    connection = duckdb.connect(
        str(workspace / "tables.duckdb"),
        config={
            "memory_limit": f"{memory_gib:g}GiB",
            "temp_directory": str(workspace / "spilled"),
            "threads": threads,
            "preserve_insertion_order": False,
        },
    )
    try:
        reader = {name: _reader(name, path) for name, path in tables.items()}
        _load(connection, reader, selection, not_asked_for)
        result = connection.sql(_RESULT).to_arrow_reader(_ROWS)
        for batch in result:
            yield _frame(batch.to_pandas(), selection)
        yield raw_occurrences({}, 0, _malformed(connection, reader))
    except duckdb.Error as error:
        raise TableError(
            f"{tables['observations'].parent}: the open-data tables cannot be joined ({str(error)[:300]}); if one is "
            "damaged remove it and run again; if memory or disk ran out raise `memory_gib` or free space"
        ) from error
    finally:
        connection.close()
        shutil.rmtree(workspace, ignore_errors=True)


def _load(
    connection: duckdb.DuckDBPyConnection,
    reader: Mapping[str, str],
    selection: Selection,
    not_asked_for: dict[str, int],
) -> None:
    """Make the tables ``plants``, ``found``, ``photos`` and ``observers``."""
    connection.execute(
        "CREATE TABLE taxa AS "  # noqa: S608 - the path is ours, and quoted
        "SELECT taxon_id, ancestry, try_cast(rank_level AS DOUBLE) AS rank_level, name, active "
        f"FROM {reader['taxa']}"
    )
    connection.execute(_PLANTS, {"root": _root(connection, selection.taxon)})
    asked = _conditions(selection)
    reasons = _REASONS.format(observations=reader["observations"], **asked)
    not_asked_for.update({str(reason): int(n) for reason, n in connection.execute(reasons).fetchall()})
    where = " AND ".join(f"({condition})" for condition in asked.values())
    connection.execute(_OBSERVATIONS.format(observations=reader["observations"], asked=where))
    licences = "true" if selection.licences is None else f"license IN {_texts(selection.licences)}"
    connection.execute(_ROWS_WANTED.format(photos=reader["photos"], licences=licences))
    connection.execute(f"CREATE TABLE observers AS SELECT observer_id, login FROM {reader['observers']}")  # noqa: S608


def _root(connection: duckdb.DuckDBPyConnection, taxon: str) -> str:
    found = connection.execute(
        "SELECT taxon_id FROM taxa WHERE name = $name AND lower(coalesce(active, 'true')) IN ('true', 't', '1')",
        {"name": taxon},
    ).fetchall()
    if len(found) != 1:
        ids = [row[0] for row in found]
        raise TableError(
            f"taxa: expected one active taxon called {taxon!r}, found {ids or 'none'}; correct the setting `taxon`, or "
            "remove the table and run again if it is incomplete"
        )
    return str(found[0][0])


def _conditions(selection: Selection) -> dict[str, str]:
    west, south, east, north = (float(x) for x in selection.region.bbox)
    lat, lon = "try_cast(latitude AS DOUBLE)", "try_cast(longitude AS DOUBLE)"
    between = "AND" if west < east else "OR"
    inside = f"{lat} BETWEEN {south!r} AND {north!r} AND ({lon} >= {west!r} {between} {lon} <= {east!r})"
    return {
        "grade": f"coalesce(quality_grade IN {_texts(selection.quality_grades)}, false)",
        "place": f"coalesce({inside}, false)",
        "time": f"coalesce(try_cast(observed_on AS DATE) < DATE '{selection.month.next.first_day}', true)",
    }


def _texts(values: Sequence[str]) -> str:
    return "(" + ", ".join(_quoted(value) for value in values) + ")"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reader(name: str, path: Path) -> str:
    """Write the reading of a table: every column text, rows of another length set aside and counted."""
    with path.open("rb") as stream:
        compression = "gzip" if stream.read(2) == _GZIP else "none"
    columns = ", ".join(f"{_quoted(column)}: 'VARCHAR'" for column in header(path))
    return (
        f"read_csv({_quoted(str(path))}, delim = '\t', quote = '', escape = '', header = true, auto_detect = false, "
        f"compression = '{compression}', columns = {{{columns}}}, store_rejects = true, "
        f"rejects_table = 'rejects_{name}', rejects_scan = 'scans_{name}')"
    )


def _malformed(connection: duckdb.DuckDBPyConnection, names: Mapping[str, str]) -> dict[str, int]:
    """Count the rows of each table that could not be read; a table that was read twice counts once."""
    counts = {}
    for name in names:
        row = connection.execute(f"SELECT count(DISTINCT line) FROM rejects_{name}").fetchone()  # noqa: S608
        if row is not None and row[0]:
            counts[f"malformed_row_of_{name}"] = int(row[0])
    return counts


def _frame(rows: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Turn rows of the join into raw occurrences."""
    named = {text: normalise_licence(text) for text in rows["license"].dropna().unique()}
    head, tail = PHOTO_ADDRESS.split("{photo_id}")
    url = head + rows["photo_id"] + tail.removesuffix("{extension}") + rows["extension"].fillna("jpg")
    observer = rows["login"].fillna(rows["observer_id"])
    day = pd.to_datetime(rows["observed_on"])
    return raw_occurrences(
        {
            "source": selection.source,
            "occurrence_id": rows["observation_uuid"],
            "photo_id": rows["photo_id"],
            "photo_url": url,
            "scientific_name": rows["name"],
            "species": rows["species"],
            "taxon_key": rows["taxon_id"],
            "genus": rows["genus"],
            "family": rows["family"],
            "latitude": rows["latitude"],
            "longitude": rows["longitude"],
            "coordinate_uncertainty_m": rows["accuracy"],
            "observed_on": day,
            "year": day.dt.year,
            "recorded_by": observer,
            "basis_of_record": "HUMAN_OBSERVATION",
            "licence": rows["license"].map(named),
            "attribution": observer,
        },
        len(rows),
    )
