"""Write the monthly tables of iNaturalist's open data: what GBIF has of it, what it has not yet, and the rest."""

from __future__ import annotations

import gzip
import io
import re
import uuid
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from plant_traits.simulation.records import INAT_DATASET
from plant_traits.simulation.seeds import stream

TABLES = ("observations", "photos", "taxa", "observers")
PLANTS = "48460/47126/211194"  # life, plants, vascular plants
_MOMENT = (2026, 11, 1, 3, 0, 0)
_NEWER, _NEEDS_ID, _CASUAL, _ANIMALS = 0.03, 0.05, 0.03, 0.05  # of the observations that GBIF has
_ODD_LICENCE = 0.15  # of those that GBIF does not have
_PHOTO_ID = re.compile(r"/photos/(\d+)/")
_LICENCES = {"by-nc": "CC-BY-NC", "/by/": "CC-BY", "zero": "CC0"}
_ODD = ("CC-BY-SA", "CC-BY-ND", "CC-BY-NC-SA", "CC-BY-NC-ND")
_BIRDS = ((9083, "Cardinalis cardinalis"), (144815, "Poecile atricapillus"), (13094, "Cyanocitta cristata"))
_RANKS = {"order": 40, "family": 30, "genus": 20, "species": 10}


def write_inaturalist(
    occurrences: pd.DataFrame,
    media: pd.DataFrame,
    photos: Sequence[Path],
    seed: int,
    folder: Path,
    *,
    now: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> dict[str, int]:
    """Write ``bucket/*.csv.gz``, ``new_photos.zip`` and ``observations.parquet`` (all, for the API).

    The tables have the observations and photos of GBIF's iNaturalist records; about 3 % newer ones of research grade,
    whose photos (mirror images of others, in ``new_photos.zip``) GBIF does not have yet; and casual ones, ones that
    need an identification, and birds, whose photos are nowhere. Some photos bear licences that forbid our use. What
    GBIF does not have is the same in every month, as are the numbers of taxa and observers.

    Args:
        occurrences: columns of a Darwin Core archive's occurrence.txt, as text: the world's first month.
        media: columns of its multimedia.txt.
        photos: the zips of the bucket's photos.
        seed: of the world.
        folder: receives the files.
        now: occurrences and media of the month that the tables are of, where it is a later one.

    Returns:
        Numbers of observations: known to GBIF, newer, others.
    """
    rng = stream(seed, "inaturalist")
    first = _known(occurrences)
    pictures = _pictures(media, first)
    extra = _extra(rng, first)
    with ExitStack() as stack:
        zips = [stack.enter_context(zipfile.ZipFile(path)) for path in photos]
        present = {name: source for source in zips for name in source.namelist()}
        extra_photos = _extra_photos(rng, pictures, extra, present.keys())
        published = occurrences if now is None else now[0]
        known = first if now is None else _known(published)
        pictures = pictures if now is None else _pictures(now[1], known)
        sizes = _sizes(present, pictures["photo_id"])
        (folder / "bucket").mkdir(parents=True, exist_ok=True)
        in_mirrors = extra_photos[extra_photos["source"] != ""]
        _write_mirrored(present, in_mirrors, folder / "new_photos.zip")
    observations = pd.concat([known, extra], ignore_index=True)
    observations["observation_uuid"] = [_uuid("observation", x) for x in observations["id"]]
    former = sorted({*first["login"], *extra["login"]})
    logins = [*former, *sorted(set(observations["login"]).difference(former))]
    observations["observer_id"] = 1000 + 7 * pd.Index(logins).get_indexer(pd.Index(observations["login"]))
    pictures = pd.concat([pictures.assign(source=""), extra_photos], ignore_index=True)
    pictures = pictures.merge(observations[["id", "observation_uuid", "observer_id"]], on="id", how="left")
    pictures["photo_uuid"] = [_uuid("photo", x) for x in pictures["photo_id"]]
    pictures["extension"] = "jpg"
    pictures = pictures.join(sizes, on="photo_id")
    taxa = build_taxa(occurrences, published)
    observations = observations.merge(taxa[["name", "taxon_id"]], left_on="species", right_on="name", how="left")
    tables = {
        "observations": observations.sort_values("observation_uuid").assign(anomaly_score="")[
            ["observation_uuid", "observer_id", "latitude", "longitude", "positional_accuracy", "taxon_id",
             "quality_grade", "observed_on", "anomaly_score"]
        ],
        "photos": pictures.sort_values("photo_uuid")[
            ["photo_uuid", "photo_id", "observation_uuid", "observer_id", "extension", "license", "width", "height",
             "position"]
        ],
        "taxa": taxa,
        "observers": pd.DataFrame(
            {"observer_id": 1000 + 7 * np.arange(len(logins)), "login": logins, "name": [x.title() for x in logins]}
        ),
    }  # fmt: skip
    for name, table in tables.items():
        text = table.to_csv(sep="\t", index=False, quoting=3, lineterminator="\n", escapechar="\\")
        (folder / "bucket" / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode(), 6, mtime=0))
    listed = pictures.sort_values("position").groupby("id")[["photo_id", "license"]].agg(list)
    shown = in_mirrors.set_index("id")["source"].str.extract(r"/(\d+)/", expand=False)
    observations = observations.join(listed, on="id").join(shown.rename("mirror_of"), on="id")
    observations.to_parquet(folder / "observations.parquet", index=False)
    newer = int((extra["kind"] == "newer").sum())
    return {"known": len(known), "newer": newer, "others": len(extra) - newer}


def _known(occurrences: pd.DataFrame) -> pd.DataFrame:
    rows = occurrences[occurrences["datasetKey"] == INAT_DATASET]
    wild = (rows["degreeOfEstablishment"] != "cultivated") & (rows["basisOfRecord"] == "HUMAN_OBSERVATION")
    wild &= rows["decimalLatitude"] != ""
    return pd.DataFrame(
        {
            "gbif_id": rows["gbifID"],
            "id": rows["occurrenceID"].str.extract(r"(\d+)$", expand=False).astype(np.int64),
            "login": rows["recordedBy"],
            "latitude": rows["decimalLatitude"],
            "longitude": rows["decimalLongitude"],
            "positional_accuracy": rows["coordinateUncertaintyInMeters"].str.replace(r"\.0$", "", regex=True),
            "species": rows["species"],
            # What is captive, a specimen or without a place never reaches research grade.
            "quality_grade": np.where(wild, "research", "casual"),
            "observed_on": rows["eventDate"].str.slice(0, 10),
            "kind": "known",
        }
    ).reset_index(drop=True)


def _pictures(media: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    found = media.merge(known[["gbif_id", "id"]], left_on="gbifID", right_on="gbif_id")
    licence = found["license"].map(lambda text: next((x for part, x in _LICENCES.items() if part in text), "CC-BY"))
    return pd.DataFrame(
        {
            "id": found["id"],
            "photo_id": found["identifier"].str.extract(_PHOTO_ID, expand=False).astype(np.int64),
            "license": licence,
            "position": found.groupby("id").cumcount(),
        }
    )


def _extra(rng: np.random.Generator, known: pd.DataFrame) -> pd.DataFrame:
    """Observations that GBIF does not have, each near one that it has."""
    parts = []
    placed = np.flatnonzero((known["latitude"] != "").to_numpy())
    first = int(known["id"].max()) + 1000
    kinds = {"newer": _NEWER, "needs_id": _NEEDS_ID, "casual": _CASUAL, "bird": _ANIMALS}
    for kind, share in kinds.items():
        count = max(1, round(share * len(known)))
        rows = known.iloc[rng.choice(placed, count)].reset_index(drop=True)
        for axis in ("latitude", "longitude"):
            moved = rows[axis].astype(float) + rng.uniform(-0.01, 0.01, count)
            rows[axis] = [f"{x:.6f}" for x in moved.clip(-179.9, 179.9)]
        rows["id"] = first + np.cumsum(rng.integers(5, 400, count))
        first = int(rows["id"].max())
        days = np.datetime64("2026-10-01") + rng.integers(0, 30, count)
        rows["observed_on"] = days.astype(str)
        rows["quality_grade"] = kind if kind in ("needs_id", "casual") else "research"
        if kind == "bird":
            rows["species"] = rng.choice([name for _, name in _BIRDS], count)
        parts.append(rows.assign(kind=kind, gbif_id=""))
    return pd.concat(parts, ignore_index=True)


def _extra_photos(
    rng: np.random.Generator, pictures: pd.DataFrame, extra: pd.DataFrame, present: Collection[str]
) -> pd.DataFrame:
    """One photo for each; the newer ones mirror a picture that is there, in ``source``."""
    count = len(extra)
    licence = np.where(
        rng.random(count) < _ODD_LICENCE, rng.choice(_ODD, count), rng.choice(["CC-BY-NC", "CC0"], count)
    )
    names = [f"photos/{x}/original.jpg" for x in pictures["photo_id"]]
    there = [name for name in names if name in present]
    source = rng.choice(there, count) if there else np.full(count, "")
    return pd.DataFrame(
        {
            "id": extra["id"],
            "photo_id": int(pictures["photo_id"].max()) + 100_000 + np.cumsum(rng.integers(3, 90, count)),
            "license": licence,
            "position": 0,
            "source": np.where(extra["kind"] == "newer", source, ""),
        }
    )


def _write_mirrored(present: Mapping[str, zipfile.ZipFile], photos: pd.DataFrame, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for photo_id, name in zip(photos["photo_id"], photos["source"], strict=True):
            member = zipfile.ZipInfo(f"photos/{photo_id}/original.jpg", _MOMENT)
            target.writestr(member, mirrored(present[name].read(name)))


def mirrored(photo: bytes) -> bytes:
    """Return a photo seen in a mirror, upright; the same bytes where it cannot be read."""
    try:
        with Image.open(io.BytesIO(photo)) as image:
            turned = ImageOps.mirror(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError:
        return photo
    out = io.BytesIO()
    turned.save(out, "JPEG", quality=90)
    return out.getvalue()


def _sizes(present: Mapping[str, zipfile.ZipFile], photo_ids: pd.Series) -> pd.DataFrame:
    """Width and height by photo id, empty where a photo is not there or cannot be read."""
    sizes: dict[int, tuple[int | str, int | str]] = {}
    for photo_id in photo_ids:
        name = f"photos/{photo_id}/original.jpg"
        sizes[photo_id] = ("", "")
        if name in present:
            try:
                with present[name].open(name) as stream, Image.open(stream) as image:
                    sizes[photo_id] = image.size
            except OSError:
                continue
    return pd.DataFrame.from_dict(sizes, orient="index", columns=["width", "height"])


def build_taxa(first: pd.DataFrame, *later: pd.DataFrame) -> pd.DataFrame:
    """Return all taxa of plants, from order to species, under the vascular plants, and three birds.

    Args:
        first: columns ``order``, ``family``, ``genus`` and ``species`` of the world's first month.
        later: the same of what came later; what it adds comes last, under a number that is the same in every month.
    """
    rows: dict[tuple[str, str], tuple[int, str]] = {}
    columns = ["order", "family", "genus", "species"]
    for part in (first, *later):
        lines = part[columns].drop_duplicates().sort_values(columns)
        for line in lines.itertuples(index=False):
            ancestry = PLANTS
            for rank, name in zip(columns, line, strict=True):
                if (rank, name) not in rows:
                    number = 300_000 + 3 * len(rows) if part is first else _late_number(rank, name)
                    rows[rank, name] = (number, ancestry)
                ancestry = f"{ancestry}/{rows[rank, name][0]}"
    table = [(number, ancestry, _RANKS[rank], rank, name) for (rank, name), (number, ancestry) in rows.items()]
    above = [
        (48460, "", 100, "stateofmatter", "Life"),
        (47126, "48460", 70, "kingdom", "Plantae"),
        (211194, "48460/47126", 60, "phylum", "Tracheophyta"),
        (1, "48460", 70, "kingdom", "Animalia"),
        (3, "48460/1/2/355675", 50, "class", "Aves"),
        *((number, "48460/1/2/355675/3/7251", 10, "species", name) for number, name in _BIRDS),
    ]
    frame = pd.DataFrame([*above, *table], columns=["taxon_id", "ancestry", "rank_level", "rank", "name"])
    return frame.assign(active="true")


def _late_number(rank: str, name: str) -> int:
    return 1_000_000 + zlib.crc32(f"{rank} {name}".encode())


def _uuid(kind: str, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://www.inaturalist.org/{kind}s/{number}"))
