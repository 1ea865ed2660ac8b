"""The files a run reads: found, hashed and listed before anything is computed from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_catalog import Catalog, Inputs
from plant_traits.observations.reference_places import INSTITUTIONS, POPULATED_PLACES, PROVINCES
from plant_traits.sources.acquire import MANIFEST
from plant_traits.sources.input_files import input_files

PHOTO_STORE = "photo-store"
PLACES = "places"


@dataclass(frozen=True)
class InputRecord:
    """One input file, or a folder that stands for all files in it.

    Attributes:
        role: occurrences, photos, traits, reference, rasters, plots, products or truth.
        reader: which reader understands it; the layer for rasters, the product for products.
        source: the source or product it belongs to.
        path: relative to the run's data folder.
        size: bytes.
        sha256: hash of names and contents.
    """

    role: str
    reader: str
    source: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class InputSet:
    """All inputs of a run, in a stable order."""

    records: tuple[InputRecord, ...]

    def of(self, role: str, source: str | None = None) -> tuple[InputRecord, ...]:
        """Return the inputs of a role, of one source where named."""
        return tuple(x for x in self.records if x.role == role and source in (None, x.source))

    def digest(self, *roles: str) -> str:
        """Return one hash over the inputs of these roles."""
        content = [(x.role, x.reader, x.source, x.path, x.sha256) for x in self.records if x.role in roles]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def write(self, path: Path) -> None:
        """Write the list as JSON."""
        path.write_text(json.dumps([asdict(x) for x in self.records], indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> InputSet:
        """Read a list written by ``write``."""
        return cls(tuple(InputRecord(**x) for x in json.loads(path.read_text(encoding="utf-8"))))


def listing(inputs: Inputs, traits: Collection[str], catalog: Catalog, root: Path) -> list[dict[str, Any]]:
    """List the files of a run with size and modification time, without reading them.

    A store of photos is named, not listed: it grows after this, and each shard looks at its own photos.

    Args:
        inputs: what the run reads.
        traits: ids of the traits that are mapped.
        catalog: the catalogue.
        root: the run's data folder.

    Raises:
        MissingInputError: a declared input is not there.
    """
    return [
        {
            "role": role,
            "reader": reader,
            "source": source,
            "path": path.relative_to(root).as_posix(),
            "files": [
                [x.relative_to(root).as_posix(), x.stat().st_size, x.stat().st_mtime_ns] for x in _files(path, reader)
            ],
        }
        for role, reader, source, path in _declared(inputs, traits, catalog, root)
    ]


def fingerprint(destination: Path, *, listed: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    """Hash every listed file and write ``inputs.json`` into the destination.

    Args:
        destination: an empty folder.
        listed: what ``listing`` returned.
        root: the run's data folder.

    Returns:
        Counts of inputs, files and bytes.
    """
    records = []
    for entry in listed:
        digest = hashlib.sha256()
        for relative, _, _ in entry["files"]:
            with (root / relative).open("rb") as stream:
                digest.update(relative.encode() + hashlib.file_digest(stream, "sha256").digest())
        size = sum(item[1] for item in entry["files"])
        identity = (entry["role"], entry["reader"], entry["source"], entry["path"])
        records.append(InputRecord(*identity, size=size, sha256=digest.hexdigest()))
    InputSet(tuple(records)).write(destination / "inputs.json")
    files = sum(len(entry["files"]) for entry in listed)
    return {"out": {"inputs": len(records), "files": files, "bytes": sum(x.size for x in records)}}


def _declared(
    inputs: Inputs, traits: Collection[str], catalog: Catalog, root: Path
) -> Iterator[tuple[str, str, str, Path]]:
    for role, items in (
        ("occurrences", inputs.occurrences),
        ("photos", inputs.photos),
        ("traits", inputs.traits),
        ("plots", inputs.plots),
    ):
        for item in items:
            growing = item.reader == PHOTO_STORE
            for path in [root / item.path] if growing else input_files(root, item.path):
                yield role, item.reader, item.source, path
    if inputs.reference is not None:
        yield "reference", PLACES, "natural-earth", _one(root, inputs.reference)
    for raster in inputs.rasters:
        for layer_id in raster.layers:
            file = catalog.source(raster.source).layer(layer_id).file
            yield "rasters", layer_id, raster.source, _one(root, f"{raster.path}/{file}")
    singles = (("plots", inputs.gridded_plots), ("truth", inputs.truth))
    products = [("products", x) for x in inputs.products] + [(role, x) for role, x in singles if x is not None]
    for role, gridded in products:
        for trait, layer in catalog.product(gridded.product).layers.items():
            if trait in traits:
                yield role, gridded.product, gridded.product, _one(root, f"{gridded.path}/{layer.file}")


def _one(root: Path, pattern: str) -> Path:
    (path,) = input_files(root, pattern)
    return path


def _files(path: Path, reader: str) -> list[Path]:
    """Return every file that reading the path reads."""
    if reader == PHOTO_STORE:
        return []
    if path.is_dir() and reader == PLACES:  # pages of other months lie beside what is read
        return sorted(x for name in (POPULATED_PLACES, PROVINCES, INSTITUTIONS) for x in path.rglob(name))
    if path.is_dir():
        table = [path.with_name(f"{path.name}.csv")] if reader == "folder" else []  # says which file is which photo
        files = (x for x in path.rglob("*") if x.is_file() and not x.name.startswith(".") and x.name != MANIFEST)
        return [*sorted(files), *(x for x in table if x.is_file())]
    return [path, *([path.with_suffix(".gri")] if path.suffix == ".grd" else [])]
