"""The global attributes of a map product, after CF and ACDD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from data_catalog import Trait
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.regions import Region

_NAMED = {"license", "product_version", "date_created"}


def product_attributes(
    provenance: Mapping[str, str],
    *,
    published: str,
    traits: Sequence[Trait],
    grid: Grid,
    minimum_photos: int,
    region: Region,
    month: Month,
) -> dict[str, str | float]:
    """Return the attributes of a product.

    Args:
        provenance: texts kept as ``provenance_<key>``; the keys ``license``, ``product_version`` and ``date_created``
            set the ACDD attribute of that name instead.
        published: the estimator behind the map.
        traits: the traits mapped.
        grid: the cells.
        minimum_photos: photos of a cell that is flagged as known from photos.
        region: where is mapped.
        month: the month of the refresh; its last day closes ``time_coverage``.
    """
    west, south, east, north = region.bbox
    names = ", ".join(trait.name.lower() for trait in traits)
    last_day = month.next.first_day - timedelta(days=1)
    return {
        "Conventions": "CF-1.13, ACDD-1.3",
        "title": f"Plant traits from citizen-science photos, {region.name}, {month}",
        "summary": (
            f"Maps of {names} on a {grid} grid. Every land cell shows the {published} estimate over its photos and a "
            "prediction from climate and soil, each weighed by its error; photo_share says how much came from photos. "
            "Every value has a 95 % interval, counts of photos, species and observers, and flags for its "
            "source, its quality and the model's area of applicability."
        ),
        "keywords": ", ".join(["plant traits", "citizen science", *(trait.name.lower() for trait in traits)]),
        "license": provenance.get("license", "not stated"),
        "product_version": provenance.get("product_version", str(month)),
        **({"date_created": provenance["date_created"]} if "date_created" in provenance else {}),
        "time_coverage_start": month.first_day.isoformat(),
        "time_coverage_end": last_day.isoformat(),
        "time_coverage_duration": "P1M",
        "comment": (
            f"All records known by the end of {month} count, whenever the plant was seen; time_coverage is that of the "
            "refresh."
        ),
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "geospatial_lon_units": "degrees_east",
        "geospatial_bounds_crs": "EPSG:4326",
        "geospatial_lat_resolution": float(grid.resolution),
        "geospatial_lon_resolution": float(grid.resolution),
        "cdm_data_type": "Grid",
        "source": "photos of citizen scientists read by a neural network, climate and soil",
        "grid": grid.text,
        "region": region.name,
        "month": str(month),
        "estimator": published,
        "minimum_photos": minimum_photos,
        "history": f"built by maps.product.dataset.build_product from the {published} estimates of the {month} refresh",
        "processing_level": "gridded estimate",
        **{f"provenance_{key}": provenance[key] for key in sorted(provenance) if key not in _NAMED},
    }
