"""How fast large text tables are read, and in how much memory.

Generates Darwin Core archives as GBIF writes them (43 columns of records, 9 of media, as many media as records) and
TRY releases (28 columns), and reads each in a process of its own. The yardstick is what DuckDB needs to count the rows
of the same two files, each the better of two runs in turns. Rows are records; memory is the process's peak. A second
measure of ours leaves out the writing: the tables are read and joined, and their rows counted. Needs Linux.

    python benchmarks/ingest.py --rows 10000000
    python benchmarks/ingest.py --rows 1000000 --shuffled --zip
    python benchmarks/ingest.py --rows 0 --try-rows 5000000

Needs about 1 KB of disk for each record, in ``--folder``, freed afterwards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from unittest.mock import patch

import duckdb
import pandas as pd
import pyarrow as pa

from data_catalog import load_catalog
from plant_traits.sources import dwca
from plant_traits.sources.dwca import write_dwca_occurrences
from plant_traits.sources.dwca_columns import OCCURRENCE_TERMS
from plant_traits.sources.try_release import read_try_release

SEED = 7
THREADS = 2
_TEXT = "delim='\t', quote='', escape='', header=true, all_varchar=true"
_MACROS = f"""
CREATE MACRO pick(i, k, n) AS (hash(i, {SEED}, k) % n)::BIGINT;
CREATE MACRO inat(i) AS pick(i, 1, 10) < 8;
CREATE MACRO species_of(i) AS pick(i, 2, 20000);
CREATE MACRO letters(n) AS translate(n::VARCHAR, '0123456789', 'abcdefghij');
CREATE MACRO genus_of(i) AS 'Genus' || letters(species_of(i) % 4000);
CREATE MACRO name_of(i) AS genus_of(i) || ' epithet' || letters(species_of(i));
CREATE MACRO day_of(i) AS DATE '2010-01-01' + pick(i, 3, 6000)::INT;
CREATE MACRO login(i) AS 'observer_' || pick(i // 7, 4, 90000);
CREATE MACRO licence(i) AS 'http://creativecommons.org/' ||
  ['licenses/by-nc/4.0', 'licenses/by/4.0', 'publicdomain/zero/1.0'][pick(i, 5, 3) + 1] || '/legalcode';
"""
_OCCURRENCE = """
SELECT 5000000000 + i * 11 AS gbifID,
  if(inat(i), '50c9509d-22c7-4a22-a47d-8c48425ef4a7', '7a3679ef-51fd-40a3-8d67-ad7e6fd47ec3') AS datasetKey,
  if(inat(i), 'https://www.inaturalist.org/observations/', 'o-plant-') || (180000000 + 37 * i) AS occurrenceID,
  'HUMAN_OBSERVATION' AS basisOfRecord, 'PRESENT' AS occurrenceStatus,
  if(inat(i), 'iNaturalist', 'PlantNet') AS institutionCode, 'Observations' AS collectionCode,
  180000000 + 37 * i AS catalogNumber, login(i) AS recordedBy, login(i) AS identifiedBy,
  strftime(day_of(i), '%Y-%m-%d') || 'T' || lpad(pick(i, 6, 24)::VARCHAR, 2, '0') || ':30:00' AS eventDate,
  year(day_of(i)) AS year, month(day_of(i)) AS month, day(day_of(i)) AS day,
  ['DE', 'FR', 'US', 'ES', 'ZA', 'AU'][pick(i, 7, 6) + 1] AS countryCode,
  (pick(i, 8, 1200000) - 550000) / 10000 AS decimalLatitude,
  (pick(i, 9, 3600000) - 1800000) / 10000 AS decimalLongitude,
  pick(i, 10, 400)::DOUBLE AS coordinateUncertaintyInMeters, 'true' AS hasCoordinate, 'false' AS hasGeospatialIssues,
  'COORDINATE_ROUNDED;CONTINENT_DERIVED_FROM_COORDINATES' AS issue,
  if(pick(i, 11, 40) = 0, 'cultivated', NULL) AS degreeOfEstablishment,
  'Plantae' AS kingdom, 'Tracheophyta' AS phylum, 'Magnoliopsida' AS "class", 'Order' || species_of(i) % 60 AS "order",
  'Family' || species_of(i) % 400 || 'aceae' AS family, genus_of(i) AS genus,
  'epithet' || letters(species_of(i)) AS specificEpithet, name_of(i) AS species,
  name_of(i) || ' (L.) Mill.' AS scientificName,
  name_of(i) || ' (L.) Mill.' AS acceptedScientificName, 'SPECIES' AS taxonRank, 2800000 + species_of(i) AS taxonKey,
  2800000 + species_of(i) AS acceptedTaxonKey, 2800000 + species_of(i) AS speciesKey,
  2700000 + species_of(i) % 4000 AS genusKey, 2000 + species_of(i) % 400 AS familyKey, licence(i) AS license,
  login(i) AS rightsHolder, if(inat(i), 'iNaturalist.org', 'Pl@ntNet') AS publisher, 'StillImage' AS mediaType,
  '2026-10-28T04:00:00.000Z' AS lastInterpreted
FROM range({rows}) AS t(i)
"""
# Of five records in a row, one has two photos, three have one and one has none.
_MULTIMEDIA = """
SELECT 5000000000 + i * 11 AS gbifID, 'StillImage' AS type, 'image/jpeg' AS format,
  if(inat(i), 'https://inaturalist-open-data.s3.amazonaws.com/photos/' || (300000000 + 3 * j) || '/original.jpg',
    'https://bs.plantnet.org/image/o/' || md5(j::VARCHAR)) AS identifier,
  if(inat(i), 'https://www.inaturalist.org/photos/' || (300000000 + 3 * j), NULL) AS "references",
  login(i) AS creator, if(inat(i), 'iNaturalist', 'PlantNet') AS publisher, licence(i + 1) AS license,
  login(i) AS rightsHolder
FROM (SELECT j, j - j % 5 + [0, 0, 1, 2, 4][j % 5 + 1] AS i FROM range({rows}) AS t(j))
"""
# Every observation has twelve rows: two wanted values, one of another trait and nine covariates, a block further on.
_TRY = """
SELECT 'Last' AS LastName, 'First' AS FirstName, 50 AS DatasetID, 'A data set of leaves' AS Dataset,
  name_of(o) AS SpeciesName, species_of(o) AS AccSpeciesID, name_of(o) AS AccSpeciesName, o AS ObservationID,
  i AS ObsDataID, [3115, 3106, 4][k + 1] AS TraitID, 'Name of the trait' AS TraitName,
  [6582, 18, 4, 59, 60, 413, 327, 61, 62, 80, 81, 82][k + 1] AS DataID, 'SLA: petiole excluded' AS DataName,
  'SLA' AS OriglName, if(k = 5 AND o % 10 = 0, 'juvenile', 'natural environment') AS OrigValueStr,
  'cm2/g' AS OrigUnitStr, if(k < 3, 'Single', NULL) AS ValueKindName, NULL AS OrigUncertaintyStr,
  NULL AS UncertaintyName, NULL AS Replicates,
  [5 + pick(i, 1, 300) / 10, 1 + pick(i, 2, 20), 1, pick(i, 4, 60), pick(i, 5, 180)][k + 1] AS StdValue,
  ['mm2 mg-1', 'm', 'g'][k + 1] AS UnitName, NULL AS RelUncertaintyPercent,
  if(pick(i, 6, 30) = 0, 7, NULL) AS OrigObsDataID, pick(i, 7, 50) / 10 AS ErrorRisk,
  'An author, 2002. A title of a paper of some length, Functional Ecology(16) 682-689' AS Reference,
  'SLA (cm g) = specific leaf area' AS Comment, NULL AS trailing
FROM (SELECT i, (i % 12000) // 1000 AS k, (i - i % 12000) // 12 + i % 1000 AS o FROM range({rows}) AS t(i))
"""


def main() -> None:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="records of the largest archive, 0 for none")
    parser.add_argument("--try-rows", type=int, default=0, help="rows of the largest TRY release")
    parser.add_argument("--shuffled", action="store_true", help="also with the media in another order than the records")
    parser.add_argument("--zip", action="store_true", help="also from the zip archive")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(_measured(given.measure[0], Path(given.measure[1]))))
        return
    table = [
        _archive(rows, given.folder, shuffled=shuffled, packed=given.zip)
        for rows in _sizes(given.rows)
        for shuffled in ([False, True] if given.shuffled else [False])
    ]
    if table:
        print(pd.DataFrame(table).to_string(index=False), flush=True)
    releases = [_release(rows, given.folder) for rows in _sizes(given.try_rows)]
    if releases:
        print(pd.DataFrame(releases).to_string(index=False))


def _sizes(rows: int) -> list[int]:
    return [n for n in (rows // 10, 3 * rows // 10, rows) if n]


def _archive(rows: int, parent: Path | None, *, shuffled: bool, packed: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name) / "archive"
        folder.mkdir()
        _write_archive(folder, rows, shuffled=shuffled)
        runs: dict[str, list[dict[str, float]]] = {what: [] for what in ("count", "dwca", "stream")}
        for _ in range(2):
            for what, measured in runs.items():
                measured.append(_in_a_process(what, folder))
        # The machine may be shared: of each, the better of two runs that took turns.
        count, ours, streamed = (min(run["seconds"] for run in measured) for measured in runs.values())
        cpu = {what: min(run["cpu"] for run in measured) for what, measured in runs.items()}
        result: dict[str, object] = {
            "records": rows,
            "media order": "other" if shuffled else "same",
            "GB": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e9, 2),
            "duckdb count rows/s": round(rows / count),
            "ours rows/s": round(rows / ours),
            "ratio": round(count / ours, 2),
            "cpu ratio": round(cpu["count"] / cpu["dwca"], 2),
            "ours, read and joined but not written, rows/s": round(rows / streamed),
            "its ratio": round(count / streamed, 2),
            "its cpu ratio": round(cpu["count"] / cpu["stream"], 2),
            "duckdb join rows/s": round(rows / _in_a_process("join", folder)["seconds"]),
            "peak MiB": round(max(run["peak_mib"] for run in runs["dwca"])),
            "duckdb count peak MiB": round(max(run["peak_mib"] for run in runs["count"])),
        }
        if packed:
            _pack(folder, folder.with_suffix(".zip"))
            zipped = _in_a_process("dwca", folder.with_suffix(".zip"))
            result |= {"zip rows/s": round(rows / zipped["seconds"]), "zip peak MiB": round(zipped["peak_mib"])}
        return result


def _release(rows: int, parent: Path | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=parent) as name:
        path = Path(name) / "try.txt"
        _copy(_TRY.format(rows=rows), path)
        ours = _in_a_process("try", path)
        return {
            "TRY rows": rows,
            "GB": round(path.stat().st_size / 1e9, 2),
            "records": ours["rows"],
            "rows/s": round(rows / ours["seconds"]),
            "peak MiB": round(ours["peak_mib"]),
        }


def _write_archive(folder: Path, rows: int, *, shuffled: bool) -> None:
    order = f" ORDER BY hash(j, {SEED})" if shuffled else ""
    _copy(_OCCURRENCE.format(rows=rows), folder / "occurrence.txt")
    _copy(_MULTIMEDIA.format(rows=rows) + order, folder / "multimedia.txt")
    tables = [("core", "id", "occurrence.txt", "Occurrence"), ("extension", "coreid", "multimedia.txt", "Multimedia")]
    declared = []
    for tag, key, file, row_type in tables:
        with (folder / file).open() as stream:
            header = stream.readline().rstrip("\n").split("\t")
        fields = "".join(f'<field index="{k}" term="http://terms/{term}"/>' for k, term in enumerate(header))
        declared.append(
            f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
            f'ignoreHeaderLines="1" rowType="http://terms/{row_type}"><files><location>{file}</location></files>'
            f'<{key} index="0"/>{fields}</{tag}>'
        )
    (folder / "meta.xml").write_text(f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(declared)}</archive>')


def _copy(query: str, path: Path) -> None:
    with duckdb.connect(config={"threads": THREADS, "memory_limit": "2GB"}) as database:
        database.execute(_MACROS)
        database.execute(f"COPY ({query}) TO '{path}' (DELIMITER '\t', QUOTE '', ESCAPE '', HEADER)")


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)


def _in_a_process(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this file itself
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def _measured(what: str, path: Path) -> dict[str, float]:
    reading: dict[str, Callable[[Path], int]] = {
        "count": _count,
        "join": _join,
        "dwca": _read_dwca,
        "stream": _stream_dwca,
        "try": _read_try,
    }
    start, cpu = time.perf_counter(), time.process_time()
    rows = reading[what](path)
    seconds = time.perf_counter() - start
    return {"rows": rows, "seconds": seconds, "cpu": time.process_time() - cpu, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Return the peak memory of this process alone; that of ``getrusage`` may be its parent's from before it began."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def _join(folder: Path) -> int:
    """Let DuckDB join the same columns into Parquet, without dates, licences, photo ids or counts of what is lost."""
    terms = [*dict.fromkeys(t for t in OCCURRENCE_TERMS if t in _OCCURRENCE)]
    columns = ", ".join(f'o."{term}"' for term in terms)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": THREADS, "memory_limit": "1GB", "temp_directory": str(folder), "preserve_insertion_order": False
    }  # fmt: skip
    with duckdb.connect(config=settings) as database:
        records, media = (f"read_csv('{folder / name}', {_TEXT})" for name in ("occurrence.txt", "multimedia.txt"))
        database.execute(
            f"""COPY (SELECT {columns}, m.identifier, m.license AS photo_license, m.rightsHolder AS photo_rights
            FROM {records} AS o LEFT JOIN {media} AS m USING (gbifID)) TO '{folder / "joined.parquet"}'
            (FORMAT parquet, COMPRESSION zstd)"""  # noqa: S608
        )
    (folder / "joined.parquet").unlink()
    return 0


def _count(folder: Path) -> int:
    with duckdb.connect(config={"threads": THREADS}) as database:
        return sum(
            int(database.sql(f"SELECT count(*) FROM read_csv('{folder / name}', {_TEXT})").fetchall()[0][0])  # noqa: S608
            for name in ("occurrence.txt", "multimedia.txt")
        )


def _read_dwca(path: Path) -> int:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        return write_dwca_occurrences(path, "gbif", Path(folder))["rows"]


def _stream_dwca(path: Path) -> int:
    """Read and join as ``_read_dwca`` does, up to the tables that it would write."""

    def count_rows(tables: Iterable[pa.Table], _path: Path, _rejected: Mapping[str, int]) -> dict[str, int]:
        return {"rows": sum(table.num_rows for table in tables)}

    with patch.object(dwca, "write_raw_occurrence_tables", count_rows):
        return _read_dwca(path)


def _read_try(path: Path) -> int:
    catalog = load_catalog()
    traits = [catalog.trait(name) for name in ("height", "leaf_area", "sla", "leaf_n")]
    return len(read_try_release(path, "try", traits).records)


if __name__ == "__main__":
    main()
