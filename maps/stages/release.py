"""Stage: everything a user downloads in one folder - maps, GeoTIFFs, scores, the report and checksums."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd

from maps.product.store import open_product
from maps.report.inputs import ReportInputs, StageRecord
from maps.report.markdown_summary import summary_markdown
from maps.report.page import write_report
from maps.stages.comparison import (
    GEOSPATIAL,
    MAPS,
    PUBLISHED,
    REFERENCES,
    SPECIES_MEANS,
    UNSEEN,
    photo_map,
    read_compared,
)
from maps.stages.contact_sheet import PHOTOS_PAGE
from maps.stages.name_effect import GateOutputs, read_names
from maps.stages.small_area import read_coverage
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import SCORE, read_table
from plant_traits.sources.inputs import InputSet
from plant_traits.stages.name_gate import ASIDE_TABLE
from plant_traits.steps import Artifact, Summary

LIBRARIES = ("torch", "xarray", "zarr", "numpy", "pandas", "rasterio", "dask", "prefect")
SUMMARY = "summary.md"
REPORT = "report.html"


@dataclass(frozen=True)
class StageOutput:
    """A finished stage as the report tells of it."""

    name: str
    artifact: Artifact


def write_release(
    destination: Path,
    *,
    spec: RunSpec,
    inputs: InputSet,
    maps: Path,
    cells: Path,
    comparison: Path,
    citation: Path,
    photos: Path,
    model: Path,
    stages: Sequence[StageOutput],
    training: Mapping[str, object],
    code: str,
    names: GateOutputs | None = None,
) -> Summary:
    """Gather a run's results in one folder.

    Writes ``report.html``, ``photos.html``, ``summary.md``, ``maps.zarr``, ``geotiff/``, ``model/``, tables and
    ``SHA256SUMS``.

    Args:
        destination: an empty folder.
        spec: the run.
        inputs: the run's inputs.
        maps: output of ``build_maps``.
        cells: output of ``fill_map``.
        comparison: output of ``compare_maps``.
        citation: output of ``count_records``.
        photos: output of ``write_photos_page``.
        model: output of ``write_model_page``.
        stages: the finished stages, in order.
        training: held-out metrics of the model.
        code: code version of the run, for the report.
        names: what the gate of names decided and did; None where names are taken as stated.

    Returns:
        Counts of files and bytes.
    """
    shutil.copytree(maps / "maps.zarr", destination / "maps.zarr")
    shutil.copytree(maps / "geotiff", destination / "geotiff")
    shutil.copytree(citation, destination / "citation")
    shutil.copytree(model, destination / "model")
    shutil.copyfile(photos / PHOTOS_PAGE, destination / PHOTOS_PAGE)
    if names is not None:
        shutil.copyfile(names.decisions / ASIDE_TABLE, destination / ASIDE_TABLE)
    scores = read_table(comparison / "scores.parquet", SCORE)
    scores.to_csv(destination / "scores.csv", index=False)
    differences = pd.read_parquet(comparison / "differences.parquet")
    covered = comparison / "coverage.parquet"
    compared = read_compared(comparison, MAPS, spec.traits, spec.grid)
    beside = [photo_map(spec.profile.published_estimator), GEOSPATIAL, SPECIES_MEANS]
    beside += [item.product for item in spec.profile.inputs.products]
    report = ReportInputs(
        title=f"Plant traits – {spec.profile.title}",
        profile=spec.profile.model_dump(mode="json"),
        region=spec.region.name,
        month=str(spec.month),
        grid=str(spec.grid),
        product=open_product(destination / "maps.zarr").load(),
        traits=spec.traits,
        scores=scores,
        differences=differences,
        coverage=pd.read_parquet(covered) if covered.exists() else None,
        plot_coverage=read_coverage(cells),
        references=read_compared(comparison, REFERENCES, spec.traits, spec.grid),
        stages=[_record(stage) for stage in stages],
        inputs=[{"name": x.path, "source": x.source, "bytes": x.size, "sha256": x.sha256} for x in inputs.records],
        citations=_citations(spec),
        versions=_versions(code),
        training=training,
        outputs={
            "Zarr store": "maps.zarr",
            "GeoTIFFs": "geotiff/",
            "scores": "scores.csv",
            "records and their citation": "citation/",
            "photos and what was predicted from them": PHOTOS_PAGE,
            "model, its card and learning curves": "model/",
            **({} if names is None else {"photos set aside for their names, for experts": ASIDE_TABLE}),
            "checksums": "SHA256SUMS",
        },
        simulated=spec.profile.inputs.world is not None,
        notes=_notes(spec, stages),
        maps={name: x for name, x in compared.items() if name in beside},
        published_map=PUBLISHED,
        unseen=read_compared(comparison, UNSEEN, spec.traits, spec.grid),
        names=None if names is None else read_names(names),
    )
    write_report(report, destination / REPORT)
    (destination / SUMMARY).write_text(summary_markdown(report), encoding="utf-8")
    files = sorted(x for x in destination.rglob("*") if x.is_file())
    lines = [f"{hashlib.sha256(x.read_bytes()).hexdigest()}  {x.relative_to(destination).as_posix()}\n" for x in files]
    (destination / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return {"out": {"files": len(files) + 1, "bytes": sum(x.stat().st_size for x in files)}}


def _record(stage: StageOutput) -> StageRecord:
    summary = stage.artifact.summary
    counts = {f"{n}_in": v for n, v in summary.get("in", {}).items()} | {
        f"{n}_out": v for n, v in summary.get("out", {}).items()
    }
    return StageRecord(
        name=stage.name,
        digest=stage.artifact.digest,
        counts=counts,
        losses=summary.get("lost", {}),
        outputs=f"steps/{stage.artifact.step}",
    )


def _citations(spec: RunSpec) -> list[dict[str, object]]:
    named = ("title", "licence", "doi", "citation")
    cited = [{name: source[name] for name in named} for source in spec.cited]
    inputs = spec.profile.inputs
    products = [x.product for x in (*inputs.products, inputs.gridded_plots) if x is not None]
    entries = (spec.catalog.product(x).model_dump(mode="json") for x in products)
    return cited + [{name: product[name] for name in named} for product in entries]


def _versions(code: str) -> dict[str, str]:
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    return {"plant-traits": metadata.version("plant-traits"), "code": code, **libraries}


def _notes(spec: RunSpec, stages: Sequence[StageOutput]) -> list[str]:
    notes = []
    if not (spec.inputs.plots or spec.inputs.gridded_plots):
        notes.append("This run has no vegetation plots: intervals of cells are as the model has them, not calibrated.")
    if spec.profile.inputs.world is not None:
        notes.append(
            "Plots of the virtual world hold the true in-situ values of their plants with a small error of "
            "measurement, where real plot means are made of species' values."
        )
    for stage in stages:
        if "told" in stage.artifact.summary:
            notes.append(str(stage.artifact.summary["told"]))
        places = stage.artifact.summary.get("places", {})
        if places:
            told = "; ".join(f"{name.replace('_', ' ')}: {origin}" for name, origin in places.items())
            notes.append(f"Places that records were tested against ({stage.name}): {told}.")
        found = stage.artifact.summary.get("found", {})
        if found:
            told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found.items() if n)
            notes.append(f"Rows in which each test found something, several tests a row ({stage.name}): {told}.")
        flagged = stage.artifact.summary.get("flagged", {})
        if flagged:
            told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in flagged.items())
            notes.append(f"Kept, but flagged ({stage.name}): {told}.")
        untested = stage.artifact.summary.get("not tested", [])
        if untested:
            names = ", ".join(name.replace("_", " ") for name in untested)
            notes.append(f"Tests that were not made for want of reference places ({stage.name}): {names}.")
    return notes
