"""Read GBIF's Darwin Core archives: occurrences, with their photos joined on the record's id."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from plant_traits.errors import ArchiveError, TableError
from plant_traits.sources.archives import open_archive
from plant_traits.sources.dwca_meta import DeclaredTable, parse_meta
from plant_traits.sources.licences import stricter_licence
from plant_traits.sources.photo_ids import photo_ids
from plant_traits.sources.raw_occurrence import raw_occurrences

# Columns of ours, each with the Darwin Core terms that may hold it, the best first; archives of different years differ.
_TERMS: dict[str, tuple[str, ...]] = {
    "dataset_key": ("datasetKey", "datasetID"),
    "occurrence_id": ("occurrenceID",),
    "scientific_name": ("scientificName",),
    "species": ("species",),
    "taxon_key": ("acceptedTaxonKey", "taxonKey", "speciesKey", "taxonID"),
    "genus": ("genus",),
    "family": ("family",),
    "latitude": ("decimalLatitude",),
    "longitude": ("decimalLongitude",),
    "coordinate_uncertainty_m": ("coordinateUncertaintyInMeters",),
    "event_date": ("eventDate",),
    "year": ("year",),
    "month": ("month",),
    "day": ("day",),
    "recorded_by": ("recordedBy",),
    "basis_of_record": ("basisOfRecord",),
    "degree_of_establishment": ("degreeOfEstablishment", "establishmentMeans"),
    "licence": ("license",),
    "attribution": ("rightsHolder", "recordedBy"),
}
_REQUIRED = ("decimalLatitude", "decimalLongitude", "scientificName", "basisOfRecord")
_MEDIA_TERMS = ("type", "format", "identifier", "license", "rightsHolder", "creator")
_ID = "record_id"
_BLOCK_BYTES = 16 * 1024**2
_META_BYTES = 16 * 1024**2


def read_dwca(path: Path, source: str) -> pd.DataFrame:
    """Read a Darwin Core archive as GBIF writes it into raw occurrences.

    The archive's own ``meta.xml`` says which column holds which term. Only still images become photos. Rows that do not
    have the declared number of fields, media that are not images, and media of unknown records are counted in the
    frame's ``rejected_rows``.

    Args:
        path: the zip archive.
        source: source id of the catalogue.

    Returns:
        One row per record and photo, columns ``RAW_OCCURRENCE``.

    Raises:
        ArchiveError: not a zip, truncated, hostile, or not a Darwin Core archive of occurrences.
        TableError: a needed column is not declared, or a table is not text in the declared encoding.
    """
    with open_archive(path) as archive:
        meta_name = _meta_name(archive, path)
        core, extensions = parse_meta(archive.read(meta_name), path.name)
        if core.row_type != "Occurrence":
            raise ArchiveError(
                f"{path.name}: expected a core of occurrences, found {core.row_type!r}; request occurrences"
            )
        missing = [t for t in _REQUIRED if t not in core.columns.values() and t not in core.constants]
        if missing:
            raise TableError(
                f"{path.name}: {core.location} has no column {', '.join(missing)}; "
                f"it declares {len(core.columns)} columns. Request the download in the format DWCA"
            )
        folder = meta_name.removesuffix("meta.xml")
        rejected: dict[str, int] = {}
        wanted = [term for terms in _TERMS.values() for term in terms]
        records = _read_table(archive, folder, core, wanted, name=path.name, rejected=rejected)
        media_tables = [x for x in extensions if x.row_type == "Multimedia"]
        media = [
            _read_table(archive, folder, x, _MEDIA_TERMS, name=path.name, rejected=rejected) for x in media_tables[:1]
        ]
    occurrences = _occurrences(records)
    photos = _photos(media[0] if media else pd.DataFrame(columns=[_ID, *_MEDIA_TERMS], dtype="str"), rejected)
    orphans = ~photos[_ID].isin(occurrences[_ID])
    _count(rejected, "media_of_unknown_record", int(orphans.sum()))
    joined = occurrences.merge(photos[~orphans], on=_ID, how="left", sort=False)
    joined["licence"] = stricter_licence(joined["licence"], joined["photo_licence"])
    joined["attribution"] = joined["photo_attribution"].fillna(joined["attribution"])
    joined["source"] = source
    return raw_occurrences({name: joined[name] for name in joined.columns}, len(joined), rejected)


def _meta_name(archive: zipfile.ZipFile, path: Path) -> str:
    names = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] == "meta.xml" and not n.startswith("__MACOSX/")]
    if not names:
        raise ArchiveError(
            f"{path.name}: no meta.xml inside, so this is not a Darwin Core archive "
            "(a SIMPLE_CSV download carries no photos: request the format DWCA)"
        )
    name = min(names, key=lambda n: (n.count("/"), n))
    if archive.getinfo(name).file_size > _META_BYTES:
        raise ArchiveError(f"{path.name}: meta.xml declares {archive.getinfo(name).file_size} bytes; refused")
    return name


def _read_table(
    archive: zipfile.ZipFile,
    folder: str,
    table: DeclaredTable,
    terms: Sequence[str],
    *,
    name: str,
    rejected: dict[str, int],
) -> pd.DataFrame:
    """Read the wanted terms of one table as text, in blocks; a term that is not there becomes a null column."""
    member = folder + table.location
    if member not in archive.namelist():
        raise ArchiveError(
            f"{name}: meta.xml declares {table.location}, which is not inside; download the archive again"
        )
    last = max([*table.columns, table.id_column])
    names = [f"{k}:{table.columns.get(k, '')}" for k in range(last + 1)]
    # A term may be declared twice in old archives; the first column counts.
    column_of: dict[str, str] = {_ID: names[table.id_column]}
    for k in sorted(table.columns):
        column_of.setdefault(table.columns[k], names[k])
    include = sorted({column_of[t] for t in [_ID, *terms] if t in column_of})
    bad_rows = 0

    def count_bad_row(_row: object) -> str:
        nonlocal bad_rows
        bad_rows += 1
        return "skip"

    try:
        with (
            archive.open(member) as stream,
            pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK_BYTES,
                    column_names=names,
                    skip_rows=table.header_lines,
                    encoding=table.encoding,
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=table.delimiter,
                    quote_char=table.quote or False,
                    double_quote=table.quote is not None,
                    invalid_row_handler=count_bad_row,
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=include,
                    column_types={column: pa.string() for column in include},
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            ) as reader,
        ):
            arrow = reader.read_all()
    except (pa.ArrowInvalid, UnicodeError, LookupError) as error:
        if "Empty CSV file" in str(error):
            arrow = pa.table({column: pa.array([], pa.string()) for column in include})
        else:
            raise TableError(
                f"{name}: {table.location} is not readable as {table.encoding} text ({error}); "
                "download the archive again"
            ) from error
    _count(rejected, f"malformed_row_of_{table.location}", bad_rows)
    frame = arrow.to_pandas()
    read = {term: frame[column_of[term]] for term in [_ID, *terms] if term in column_of}
    result = pd.DataFrame(read, index=frame.index)
    for term in terms:
        if term not in result:
            result[term] = pd.Series(table.constants.get(term, pd.NA), index=frame.index, dtype="str")
    return result


def _occurrences(records: pd.DataFrame) -> pd.DataFrame:
    """Turn Darwin Core terms into our columns: one row per record id."""
    frame = pd.DataFrame({_ID: records[_ID]})
    for ours, terms in _TERMS.items():
        frame[ours] = records[terms[0]]
        for term in terms[1:]:
            frame[ours] = frame[ours].fillna(records[term])
    frame["occurrence_id"] = frame["occurrence_id"].fillna(frame[_ID])
    for number in ("latitude", "longitude", "coordinate_uncertainty_m", "year", "month", "day"):
        frame[number] = pd.to_numeric(frame[number], errors="coerce").astype("float64")
    frame["observed_on"] = _dates(frame)
    frame["year"] = frame["year"].fillna(frame["observed_on"].dt.year)
    return frame.drop(columns=["event_date", "month", "day"])


def _dates(frame: pd.DataFrame) -> pd.Series:
    """Take the day of ``eventDate`` (the first of an interval), else year, month and day where all three are given."""
    iso = frame["event_date"].str.extract(r"^\s*(\d{4}-\d{2}-\d{2})(?=$|[T/ ])", expand=False)
    from_text = pd.to_datetime(iso, format="%Y-%m-%d", errors="coerce")
    from_parts = pd.to_datetime(frame[["year", "month", "day"]], errors="coerce")
    return from_text.fillna(from_parts).astype("datetime64[s]")


def _photos(media: pd.DataFrame, rejected: dict[str, int]) -> pd.DataFrame:
    kind = (media["type"].fillna("") + " " + media["format"].fillna("")).str.lower()
    other = kind.str.contains("sound|moving|audio|video|text/|html", regex=True)
    by_name = media["identifier"].str.contains(r"\.(?:jpe?g|png|webp|tiff?)(?:$|\?)", case=False, regex=True, na=False)
    image = ~other & (kind.str.contains("stillimage|image/", regex=True) | by_name)
    _count(rejected, "media_not_an_image", int((~image).sum()))
    _count(rejected, "media_without_address", int((image & media["identifier"].isna()).sum()))
    chosen = media[image & media["identifier"].notna()]
    photos = pd.DataFrame(
        {
            _ID: chosen[_ID],
            "photo_url": chosen["identifier"],
            "photo_id": photo_ids(chosen["identifier"]),
            "photo_licence": chosen["license"],
            "photo_attribution": chosen["rightsHolder"].fillna(chosen["creator"]),
        }
    )
    repeated = photos.duplicated([_ID, "photo_id"])
    _count(rejected, "media_repeated_within_record", int(repeated.sum()))
    return photos[~repeated]


def _count(counts: dict[str, int], reason: str, n: int) -> None:
    if n:
        counts[reason] = counts.get(reason, 0) + n
