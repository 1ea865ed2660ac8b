"""Write trait maps of two published kinds, as other people would have made them of species' means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plant_traits.simulation.flora import Flora
from plant_traits.simulation.noise import sphere_field
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel
from plant_traits.simulation.write_rasters import write_grid
from plant_traits.traits import from_working

FloatArray = npt.NDArray[np.float64]

_WOLF = {"height": "Plant.Height", "leaf_area": "Leaf.Area", "sla": "SLA", "leaf_n": "Leaf.N.per.mass"}
_KATTENBORN = {"height": 18, "leaf_area": 3112, "sla": 11, "leaf_n": 14}
_BANDS = ("count", "mean", "median", "sd", "quantile05", "quantile95")


def write_products(seed: int, planet: Planet, flora: Flora, models: Sequence[TraitModel], folder: Path) -> int:
    """Write each known trait as a 0.5° GeoTIFF of logarithms and as a 2° RRASTER of six bands.

    Both are made of the means that species have over their range, so they miss what plants of one species differ in
    from place to place; the first samples species by taste and has gaps where few people record.

    Returns:
        The number of maps written.
    """
    written = 0
    for model in models:
        if model.trait.id not in _WOLF:
            continue
        overall = species_means(model, flora)
        write_grid(_wolf(seed, planet, flora, model, overall), folder / f"iNat_{_WOLF[model.trait.id]}_05deg_ln.tif")
        name = f"GBIF_TRYgapfilled_X{_KATTENBORN[model.trait.id]}_2deg"
        _write_rraster(_kattenborn(seed, planet, flora, model, overall), folder / name)
        written += 2
    return written


def species_means(model: TraitModel, flora: Flora) -> FloatArray:
    """Return each species' mean over its range in working space, (species,): what a trait database can know."""
    weight = flora.share / flora.share.sum(0, keepdims=True)
    environment = weight.T @ model.environment.ravel()[flora.cells]
    hidden = weight.T @ model.hidden.ravel()[flora.cells]
    return np.asarray(model.species_mean + model.plasticity * environment + hidden)


def _wolf(seed: int, planet: Planet, flora: Flora, model: TraitModel, overall: FloatArray) -> FloatArray:
    rng = stream(seed, "wolf", model.trait.id)
    taste = np.exp(0.5 * flora.species["colourful"].to_numpy() + rng.normal(0, 0.3, len(flora.species)))
    share = flora.share.astype(np.float64) ** 0.8 * taste
    out = np.full(planet.land.size, np.nan)
    out[flora.cells] = share @ overall / share.sum(1) + rng.normal(0, 0.12, flora.cells.size)
    recorded = sphere_field(stream(seed, "wolf", "effort"), planet.grid.lat, planet.grid.lon, 8).ravel() > -0.1
    return np.where(recorded, out, np.nan).reshape(planet.land.shape)


def _kattenborn(seed: int, planet: Planet, flora: Flora, model: TraitModel, overall: FloatArray) -> FloatArray:
    """Return (6, 90, 180) bands on the natural scale."""
    rng = stream(seed, "kattenborn", model.trait.id)
    row, column = np.divmod(flora.cells, planet.grid.n_lon)
    block = (row // 4) * 180 + column // 4
    size = np.bincount(block, minlength=90 * 180)
    share = np.zeros((90 * 180, len(overall)))
    np.add.at(share, block, flora.share.astype(np.float64) ** 0.8)
    known = np.flatnonzero(size)
    weight = share[known] / share[known].sum(1, keepdims=True)
    natural = from_working(model.trait, overall + rng.normal(0, 0.1, overall.size))
    order = np.argsort(natural)
    reached = np.cumsum(weight[:, order], axis=1)
    mean = weight @ natural
    bands = np.full((6, 90 * 180), np.nan)
    bands[0, known] = size[known] * 40
    bands[1, known] = mean
    bands[3, known] = np.sqrt(np.maximum(weight @ natural**2 - mean**2, 0))
    for band, level in ((2, 0.5), (4, 0.05), (5, 0.95)):
        bands[band, known] = natural[order][np.minimum((reached < level).sum(1), overall.size - 1)]
    return bands.reshape(6, 90, 180)


def _write_rraster(bands: FloatArray, path: Path) -> None:
    """Write ``<path>.grd`` and ``.gri`` as R's raster package does: interleaved by line, missing cells as NaN."""
    lowest = [f"{np.nanmin(band):.15g}" for band in bands]
    highest = [f"{np.nanmax(band):.15g}" for band in bands]
    header = f"""[general]
creator=R package 'raster'
created=2026-10-01 00:00:00
[data]
datatype=FLT4S
byteorder=little
nbands={len(bands)}
bandorder=BIL
minvalue={":".join(lowest)}
maxvalue={":".join(highest)}
nodatavalue=-3.4e+38
[legend]
legendtype=
values=
color=
[description]
layername={":".join(_BANDS)}
[georeference]
nrows={bands.shape[1]}
ncols={bands.shape[2]}
xmin=-180
ymin=-90
xmax=180
ymax=90
projection=+proj=longlat +datum=WGS84 +no_defs
"""
    path.with_suffix(".grd").write_text(header, encoding="ascii")
    path.with_suffix(".gri").write_bytes(np.ascontiguousarray(bands.transpose(1, 0, 2), dtype="<f4").tobytes())
