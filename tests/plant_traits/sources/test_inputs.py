"""What a run's inputs are made of: the files that are read, not what lies beside them."""

from __future__ import annotations

from pathlib import Path

from data_catalog import Inputs, load_catalog
from plant_traits.sources.inputs import listing


def test_reference_places_are_the_files_that_are_read(tmp_path: Path) -> None:
    kept = tmp_path / "reference" / "institutions"
    (kept / "pages-november").mkdir(parents=True)
    (kept / "institutions.parquet").write_bytes(b"the table")
    (kept / "pages-november" / "000000.json.gz").write_bytes(b"another month's page")
    (entry,) = listing(Inputs(root="-", reference="reference"), (), load_catalog(), tmp_path)
    assert [name for name, _, _ in entry["files"]] == ["reference/institutions/institutions.parquet"]


def test_a_file_of_reference_places_anywhere_below_counts(tmp_path: Path) -> None:
    for name in ("a/institutions.parquet", "b/ne_10m_populated_places_simple.zip", "institutions.parquet"):
        (tmp_path / "reference" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "reference" / name).write_bytes(b"x")
    (entry,) = listing(Inputs(root="-", reference="reference"), (), load_catalog(), tmp_path)
    assert [name for name, _, _ in entry["files"]] == [
        "reference/a/institutions.parquet",
        "reference/b/ne_10m_populated_places_simple.zip",
        "reference/institutions.parquet",
    ]
