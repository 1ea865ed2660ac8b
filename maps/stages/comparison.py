"""Stage: the run's maps, the species-mean map and the published products, scored against plots and known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from data_catalog import Trait
from maps.comparison.registry import maps_dataset, open_product_map, plot_means
from maps.comparison.scores import DIFFERENCE_COLUMNS, compare, coverage, pairwise_differences
from maps.product.dataset import estimate_dataset
from maps.product.layers import APPLICABILITY
from maps.product.store import open_product
from maps.stages.cells import read_estimates
from maps.stages.small_area import plots_of_run, read_unseen
from plant_traits.grid import Grid
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import LAND_PREDICTION, OBSERVATION, SCORE, SPECIES_TRAIT, read_table, write_table
from plant_traits.steps import Summary
from plant_traits.taxa.labels import labels_for

PUBLISHED = "published"
GEOSPATIAL = "geospatial only"
SPECIES_MEANS = "species means"
PHOTOS, RECORDS = "photos", "records"
PLOTS, TRUTH = "plots", "truth"
EFFORT_WEIGHTED = "effort_weighted"
RICH = 20  # photos, as the published comparison asks for
BOOTSTRAP_SEED = 1
LEAST_CELLS = 30  # one campus is no map: a map of fewer does not shrink the cells that all are scored on
COMPARED = "compared.parquet"
MAPS, REFERENCES, UNSEEN = "maps", "references", "unseen"


def compare_maps(
    destination: Path,
    *,
    spec: RunSpec,
    root: Path,
    maps: Path,
    cells: Path,
    estimates: Path,
    weighted: Path,
    land: Path,
    observations: Path,
    taxa: Path,
) -> Summary:
    """Score every map; write ``scores.parquet``, ``differences.parquet``, ``coverage.parquet`` and the maps compared.

    Maps: the published product; each estimator over photos (cells of at least the profile's
    ``comparison_minimum_photos``), the mean weighted by effort among them; the geospatial prediction of every land
    cell; the mean over records of their species' median, as maps made without photos are; every map product of the
    profile. References: vegetation plots, which the published product meets at locations that they had no say in, and
    the known truth of a virtual world. The shared cells are those of all maps, of records apart, that have at least
    ``LEAST_CELLS`` cells on the reference, unless the profile names them. Where the truth is known, the coverage of
    intervals by every map that has standard errors is told, that of the published one also by kind of cell and as it
    was before calibration.

    Args:
        destination: an empty folder.
        spec: the run.
        root: the run's data folder.
        maps: output of ``build_maps``.
        cells: output of ``fill_map``.
        estimates: output of ``estimate_cells``.
        weighted: output of ``weigh_by_effort``.
        land: output of ``predict_land``.
        observations: output of ``build_observations``.
        taxa: output of ``summarise_taxa``.

    Returns:
        Counts of maps, references and scores; plots lost, by reason.
    """
    traits, grid = spec.traits, spec.grid
    candidates = {PUBLISHED: open_product(maps / "maps.zarr").load()}
    candidates |= _estimated(spec, estimates, weighted)
    candidates[GEOSPATIAL] = _geospatial(spec, land)
    candidates[SPECIES_MEANS] = _species_means(spec, observations, taxa)
    for item in spec.inputs.products:
        product = spec.catalog.product(item.product)
        candidates[product.id] = open_product_map(product, root / item.path, traits, grid)
    references, lost = _references(spec, root)

    scores, differences, covered = [], [], []
    unseen: dict[str, xr.Dataset] = {}
    for name, reference in references.items():
        compared = candidates
        if name == PLOTS:
            unseen[name] = _unseen(candidates[PUBLISHED], cells, spec)
            compared = candidates | {PUBLISHED: unseen[name]}
        defining = spec.profile.comparison_shared_by or _defining(compared, reference)
        scores.append(compare(compared, name, reference, traits, grid, seed=BOOTSTRAP_SEED, shared_by=defining))
        differences.append(pairwise_differences(compared, name, reference, traits, grid, seed=BOOTSTRAP_SEED))
    if TRUTH in references:
        truth = references[TRUTH]["location"]
        published = candidates[PUBLISHED]
        for name, candidate in ({PUBLISHED: published, **published_kinds(published)} | candidates).items():
            if "standard_error" in candidate:
                table = coverage(candidate["location"], candidate["standard_error"], truth, traits, grid)
                covered.append(table[table["n"] > 0].assign(map=name))
    all_scores = pd.concat(scores, ignore_index=True) if scores else pd.DataFrame(columns=SCORE.names)
    write_table(all_scores, destination / "scores.parquet", SCORE)
    none = pd.DataFrame(columns=list(DIFFERENCE_COLUMNS))
    all_differences = pd.concat(differences, ignore_index=True) if differences else none
    all_differences.to_parquet(destination / "differences.parquet")
    if covered:
        pd.concat(covered, ignore_index=True).to_parquet(destination / "coverage.parquet")
    groups = ((MAPS, candidates), (REFERENCES, references), (UNSEEN, unseen))
    kept = [_long(kind, name, dataset) for kind, group in groups for name, dataset in group.items()]
    pd.concat(kept, ignore_index=True).to_parquet(destination / COMPARED, index=False)
    return {
        "in": {"maps": len(candidates), "references": len(references)},
        "out": {"scores": sum(len(frame) for frame in scores)},
        "lost": lost,
    }


def read_compared(folder: Path, kind: str, traits: Sequence[Trait], grid: Grid) -> dict[str, xr.Dataset]:
    """Return the maps of one kind, ``MAPS``, ``REFERENCES`` or ``UNSEEN``, by name: ``location`` (trait, lat, lon).

    ``UNSEEN`` are the published locations that a reference of that name had no say in. All are in working space.
    """
    table = pd.read_parquet(folder / COMPARED)
    position = {trait.id: k * grid.size for k, trait in enumerate(traits)}
    found = {}
    for name, rows in table[table["kind"] == kind].groupby("name", sort=False):
        flat = np.full(len(traits) * grid.size, np.nan)
        flat[rows["trait"].map(position).to_numpy() + rows["cell"].to_numpy()] = rows["location"].to_numpy()
        layers = {"location": flat.reshape(len(traits), *grid.shape)}
        found[str(name)] = maps_dataset(layers, traits, grid, {"title": str(name)})
    return found


def _long(kind: str, name: str, dataset: xr.Dataset) -> pd.DataFrame:
    location = dataset["location"].transpose("trait", "lat", "lon").to_numpy()
    trait, cell = np.nonzero(np.isfinite(location.reshape(len(location), -1)))
    values = location.reshape(len(location), -1)[trait, cell].astype(np.float32)
    ids = dataset["trait"].to_numpy().astype(str)[trait]
    return pd.DataFrame({"kind": kind, "name": name, "trait": ids, "cell": cell, "location": values})


def _unseen(product: xr.Dataset, cells: Path, spec: RunSpec) -> xr.Dataset:
    """Return the published locations, those of cells with plots by errors learned on the plots of other blocks."""
    frame = read_unseen(cells)
    location = product["location"].transpose("trait", "lat", "lon")
    flat = location.to_numpy().reshape(-1).copy()
    position = {trait.id: k * spec.grid.size for k, trait in enumerate(spec.traits)}
    at = frame["trait"].map(position).to_numpy(dtype=np.int64) + frame["cell"].to_numpy(dtype=np.int64)
    flat[at] = np.where(np.isfinite(flat[at]), frame["location"].to_numpy(dtype=np.float64), np.nan)
    return product[["location"]].assign(location=location.copy(data=flat.reshape(location.shape)))


def published_kinds(product: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return parts of the published map whose intervals are looked at apart, by name: location and standard error."""
    n, outside = product["n_photos"], product["applicability"] == APPLICABILITY["outside"]
    kinds = {
        f"cells of {RICH} photos or more": n >= RICH,
        "cells of fewer photos": (n > 0) & (n < RICH),
        "cells without photos": (n == 0) & ~outside,
        "cells without photos, outside the area of applicability": (n == 0) & outside,
    }
    both = product[["location", "standard_error"]]
    parts = {f"{PUBLISHED}, {kind}": both.where(cells) for kind, cells in kinds.items()}
    raw = product[["location"]].assign(standard_error=product["standard_error_raw"])
    return {f"{PUBLISHED}, before calibration": raw, **parts}


def photo_map(estimator: str) -> str:
    """Return what the map of an estimator over photos is called in the scores."""
    return _name(PHOTOS, estimator)


def _name(kind: str, estimator: str) -> str:
    return f"{kind}, {estimator.replace('_', ' ')}"


def _estimated(spec: RunSpec, estimates: Path, weighted: Path) -> dict[str, xr.Dataset]:
    least = {PHOTOS: spec.profile.comparison_minimum_photos, RECORDS: 1}
    found = {}
    for kind, evidence in ((PHOTOS, "photo"), (RECORDS, "record")):
        for name, frame in read_estimates(estimates, evidence, spec.profile.estimators).items():
            enough = frame[frame["n_photos"] >= least[kind]]
            if len(enough):
                found[_name(kind, name)] = estimate_dataset(enough, spec.traits, spec.grid)
    by_effort = read_estimates(weighted, "photo", [EFFORT_WEIGHTED])[EFFORT_WEIGHTED]
    enough = by_effort[by_effort["n_photos"] >= least[PHOTOS]]
    if len(enough):
        found[photo_map(EFFORT_WEIGHTED)] = estimate_dataset(enough, spec.traits, spec.grid)
    return found


def _geospatial(spec: RunSpec, land: Path) -> xr.Dataset:
    frame = read_table(land / "land.parquet", LAND_PREDICTION)
    position = {trait.id: k for k, trait in enumerate(spec.traits)}
    at = frame["trait"].map(position).to_numpy() * spec.grid.size + frame["cell"].to_numpy()
    series = frame.set_index(at).reindex(range(len(position) * spec.grid.size))
    shape = (len(position), *spec.grid.shape)
    layers = {"location": series["mean"].to_numpy(dtype="float64").reshape(shape)}
    return maps_dataset(layers, spec.traits, spec.grid, {"title": "Predicted from climate and soil alone"})


def _species_means(spec: RunSpec, observations: Path, taxa: Path) -> xr.Dataset:
    table = read_table(observations / "observations.parquet", OBSERVATION)
    labels = read_table(taxa / "species_traits.parquet", SPECIES_TRAIT)
    wide = labels_for(table, labels[labels["rank"] == "species"], spec.traits)
    long = [
        pd.DataFrame(
            {
                "latitude": table["latitude"],
                "longitude": table["longitude"],
                "trait": trait.id,
                "value": wide[f"{trait.id}_median"].to_numpy(),
            }
        )
        for trait in spec.traits
    ]
    return plot_means(pd.concat(long, ignore_index=True), spec.traits, spec.grid)


def _references(spec: RunSpec, root: Path) -> tuple[dict[str, xr.Dataset], dict[str, int]]:
    references: dict[str, xr.Dataset] = {}
    lost: dict[str, int] = {}
    plots, rejected = plots_of_run(spec, root) if spec.inputs.plots else (None, {})
    if plots is not None:
        lost |= {f"plot {reason}": n for reason, n in rejected.items()}
        references[PLOTS] = plot_means(plots, spec.traits, spec.grid)
    for name, gridded in ((PLOTS, spec.inputs.gridded_plots), (TRUTH, spec.inputs.truth)):
        if gridded is not None:
            product = spec.catalog.product(gridded.product)
            references[name] = open_product_map(product, root / gridded.path, spec.traits, spec.grid)
    return references, lost


def _defining(candidates: Mapping[str, xr.Dataset], reference: xr.Dataset) -> list[str]:
    """Name the maps whose cells define the shared ones: those with enough cells on the reference to compare on.

    Maps of records without a photo repeat the geospatial map where such records happen to be; they define nothing.
    """
    known = reference["location"].notnull()
    return [
        name
        for name, dataset in candidates.items()
        if not name.startswith(RECORDS)
        and int((dataset["location"].notnull() & known).any("trait").sum()) >= LEAST_CELLS
    ]
