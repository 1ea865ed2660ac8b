"""Take the occurrences of a region from GBIF's monthly snapshot in the cloud, file by file, only the columns needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import Field

from plant_traits.errors import TableError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.gbif.simple import as_text, simple_occurrences, wanted_columns
from plant_traits.sources.gbif.snapshot_store import SnapshotStore, read_short_text, snapshot_store
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, write_raw_occurrence_tables
from plant_traits.sources.web.client import Web

_BATCH_ROWS = 65_536
_PART_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._\-]*")


class GbifSnapshotSettings(PluginSettings):
    """Settings of the plug-in ``gbif-snapshot``.

    Attributes:
        location: folder that holds the snapshots by date: a public bucket (``s3://…``, asked over https) or another
            fsspec address.
        phylum: name of the phylum; both of GBIF's taxonomies name it alike.
        phylum_keys: its keys, for files that lack the name.
        basis_of_record: kind of record.
        media_type: medium that a record must have, such as ``StillImage``; None for records with or without.
    """

    location: str = "s3://gbif-open-data-eu-central-1/occurrence"
    phylum: str = "Tracheophyta"
    phylum_keys: tuple[str, ...] = ("7707728", "TP")
    basis_of_record: str = "HUMAN_OBSERVATION"
    media_type: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True)
class GbifSnapshot:
    """The plug-in ``gbif-snapshot``; see ``GbifSnapshotSettings``.

    The snapshot holds no addresses of photos: it serves records, their places and what has been deleted since. The
    folder keeps the wanted rows of each file of the snapshot; a file that is done is not read again.
    """

    def plan(self, request: Request) -> Plan:
        """Say what will be asked.

        Raises:
            InputError: the settings are wrong.
        """
        settings = _settings(request)
        return Plan(
            asked={
                **settings.model_dump(mode="json"),
                "source": request.source.id,
                "until": _last_day(request.month).isoformat(),
                "bbox": list(request.region.bbox),
                "columns": RAW_OCCURRENCE.names,
            }
        )

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Read the files of the month's snapshot, one after the other, and keep their wanted rows.

        Raises:
            WebError: there is no snapshot up to the month, a file cannot be had, or the store failed for good.
            TableError: a file is not a table of occurrences.
        """
        settings = _settings(request)
        store = snapshot_store(settings.location, web)
        kept = request.folder / f"parts-{plan.key[:12]}"
        kept.mkdir(parents=True, exist_ok=True)
        day = _chosen(store, request.month, settings.location, kept)
        within = f"{day}/occurrence.parquet"
        parts = {n: size for n, size in sorted(store.files(within).items()) if n[0] not in "_."}
        if not parts:
            raise WebError("gone", f"{settings.location}/{within} holds no files; choose another `location`")
        files, read, rows = [], 0, 0
        for name, size in parts.items():
            if not _PART_NAME.fullmatch(name):
                raise WebError("unexpected_answer", f"{settings.location}/{within}: {name!r} is no name of a file")
            done = _read_part(store, f"{within}/{name}", size, kept / f"{day}.{name}.parquet", request, settings)
            files.append(f"{kept.name}/{day}.{name}.parquet")
            read, rows = read + done["read"], rows + done["rows"]
        beside = store.files(day)
        citation = (
            read_short_text(store, f"{day}/citation.txt", beside["citation.txt"]) if "citation.txt" in beside else None
        )
        facts = {
            "snapshot": day,
            "location": settings.location,
            "citation": citation,
            "files": len(files),
            "rows_read": read,
            "rows_kept": rows,
            "rows_filtered": read - rows,
        }
        return Fetched(tuple(files), facts)

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that all kept rows are there.

        Raises:
            InputError: they are not.
        """
        found = sum(_rows(request.folder / name) for name in fetched.files)
        if found != fetched.facts["rows_kept"]:
            raise TableError(
                f"{request.folder}: {fetched.facts['rows_kept']} rows were kept, {found} are there; remove the folder "
                "and run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``occurrences.parquet``; see the protocol. ``filtered`` counts rows outside what was asked for."""

        def tables() -> Iterator[pa.Table]:
            for name in fetched.files:
                with pq.ParquetFile(request.folder / name) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                        yield pa.Table.from_batches([batch]).cast(RAW_OCCURRENCE)

        counts = write_raw_occurrence_tables(tables(), destination / "occurrences.parquet", {})
        return {**counts, "filtered": int(str(fetched.facts["rows_filtered"]))}


def snapshot_filter(schema: pa.Schema, settings: GbifSnapshotSettings, region: Region, where: str) -> pc.Expression:
    """Build the filter for a file of the snapshot, whatever types and case its columns have.

    Statistics of the file let the reader leave out whole row groups by it.

    Raises:
        TableError: a column that the filter needs is missing.
    """
    lower = {name.lower(): name for name in schema.names}
    missing = [x for x in ("decimallatitude", "decimallongitude", "basisofrecord") if x not in lower]
    if missing or ("phylum" not in lower and "phylumkey" not in lower):
        raise TableError(f"{where}: columns {[*missing, 'phylum']} are needed; found {schema.names[:60]}")
    lat, lon = (ds.field(lower[x]) for x in ("decimallatitude", "decimallongitude"))
    wanted = ds.field(lower["basisofrecord"]) == settings.basis_of_record
    if "phylum" in lower:
        wanted &= ds.field(lower["phylum"]) == settings.phylum
    else:
        wanted &= ds.field(lower["phylumkey"]).cast(pa.string()).isin(list(settings.phylum_keys))
    if "occurrencestatus" in lower:
        wanted &= ds.field(lower["occurrencestatus"]).isin(["PRESENT", "present"])
    west, south, east, north = region.bbox
    wanted &= (lat >= south) & (lat <= north)
    wanted &= (lon >= west) & (lon <= east) if west < east else (lon >= west) | (lon <= east)
    return wanted


def _settings(request: Request) -> GbifSnapshotSettings:
    return read_settings(request, GbifSnapshotSettings, "gbif-snapshot")


def _last_day(month: Month) -> date:
    return month.next.first_day - timedelta(days=1)


def _chosen(store: SnapshotStore, month: Month, location: str, kept: Path) -> str:
    """Return the date of the latest snapshot up to the month's end; a run that was begun keeps to its own."""
    journal = kept / "snapshot.json"
    if journal.is_file():
        return str(json.loads(journal.read_text(encoding="utf-8")))
    days = sorted(name for name in store.folders("") if re.fullmatch(r"\d{4}-\d{2}-\d{2}", name))
    until = _last_day(month).isoformat()
    reached = [day for day in days if day <= until]
    if not reached:
        raise WebError(
            "gone",
            f"{location} holds no snapshot up to {until}; "
            + (f"the earliest is of {days[0]}: choose a later month" if days else "correct `location`"),
        )
    _write_aside(journal, json.dumps(reached[-1]))
    return reached[-1]


def _read_part(
    store: SnapshotStore, path: str, size: int, target: Path, request: Request, settings: GbifSnapshotSettings
) -> dict[str, int]:
    """Keep the wanted rows of one file; return how many it has and how many were kept."""
    journal = target.with_suffix(".json")
    if journal.is_file() and target.is_file():
        done: dict[str, int] = json.loads(journal.read_text(encoding="utf-8"))
        if done["size"] == size:
            return done
    aside = target.with_suffix(".new")
    where = f"{settings.location}/{path}"
    try:
        with store.open(path, size) as stream:
            fragment = ds.ParquetFileFormat().make_fragment(pa.PythonFile(stream, mode="r"))
            read, schema = int(fragment.metadata.num_rows), fragment.physical_schema
            columns = wanted_columns(schema.names, where)
            media = [x for x in schema.names if x.lower() == "mediatype"]
            if settings.media_type is not None and not media:
                raise TableError(f"{where}: column mediatype is needed for `media_type`; found {schema.names[:60]}")
            wanted = snapshot_filter(schema, settings, request.region, where)
            batches = fragment.to_batches(
                columns=[*columns, *(media if settings.media_type else [])],
                filter=wanted,
                batch_size=_BATCH_ROWS,
                batch_readahead=1,
                fragment_readahead=1,
                use_threads=False,
            )
            tables = (_wanted_rows(batch, media, settings, request.source.id) for batch in batches)
            counts = write_raw_occurrence_tables(tables, aside, {})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise TableError(f"{where}: not a readable Parquet table of occurrences ({error}); run again later") from error
    except WebError as error:
        raise WebError(error.reason, f"file {path} of the snapshot: {error}", error.status) from error
    aside.replace(target)
    done = {"size": size, "read": read, "rows": counts["rows"]}
    _write_aside(journal, json.dumps(done))
    return done


def _wanted_rows(batch: pa.RecordBatch, media: list[str], settings: GbifSnapshotSettings, source: str) -> pa.Table:
    table = pa.Table.from_batches([batch])
    if settings.media_type is not None:
        words = pc.split_pattern_regex(as_text(table[media[0]]).combine_chunks(), r"\s*[;,|]\s*")
        has = pc.list_parent_indices(words).filter(pc.equal(pc.list_flatten(words), settings.media_type))
        table = table.take(pc.unique(has))
    return simple_occurrences(table, source)


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable table ({error}); remove it and run again") from error


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
