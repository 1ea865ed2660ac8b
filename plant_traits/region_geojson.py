"""Regions as people name them; polygons of a GeoJSON file among them, checked before anything is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

from data_catalog import Catalog
from plant_traits.errors import InputError, MissingInputError
from plant_traits.regions import Region, shape_hash

SUFFIXES = (".geojson", ".json")
LARGEST_FILE = 64 * 1024 * 1024
MOST_VERTICES = 1_000_000
_DEGREES = ("EPSG:4326", "OGC:CRS84", *(f"urn:ogc:def:crs:{x}" for x in ("OGC:1.3:CRS84", "OGC::CRS84", "EPSG::4326")))
_POLYGONS = ("Polygon", "MultiPolygon")
_LONGEST_STEM = 60


def find_region(text: str, catalog: Catalog) -> Region:
    """Read a region of the catalogue by name, ``west,south,east,north``, or the polygons of a GeoJSON file.

    Raises:
        CatalogError: the catalogue has no such region.
        GridError: the box cannot be read.
        InputError: the file cannot be used, see ``read_region_file``.
    """
    if text.lower().endswith(SUFFIXES):
        return read_region_file(Path(text))
    return Region.parse(text, catalog)


def read_region_file(path: Path) -> Region:
    """Read the polygons of a GeoJSON file (RFC 7946) as one region; its name is the file's, with a hash of the shape.

    Polygons that reach beyond 180° west or east are cut there and their rest is laid on the other side; heights are
    left out. Edges are straight in degrees. Only the file itself is read: no other format, and nothing it refers to.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is too large, not GeoJSON, in other coordinates than degrees (EPSG:4326), or holds something else
            than valid polygons on the globe.
    """
    shape = _on_globe(_polygons(path, _content(path)), path)
    stem = re.sub(r"[^A-Za-z0-9.\-]", "_", path.stem)[:_LONGEST_STEM]
    return Region.of_shape(f"{stem}-{shape_hash(shape)[:8]}", shape)


def _content(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise MissingInputError(f"region file {path} is not there: expected a GeoJSON file; correct the path")
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise InputError(f"region file {path} is larger than {LARGEST_FILE} bytes; simplify its polygons")
        content = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"region file {path} cannot be read as GeoJSON ({error}): expected polygons in degrees, in UTF-8"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"region file {path}: expected a GeoJSON object, found {type(content).__name__}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _polygons(path: Path, content: Mapping[str, Any]) -> geopandas.GeoSeries:
    """Return the polygons of a file, after checking what they are said and found to be."""
    crs = content.get("crs")
    if crs is not None:
        properties = crs.get("properties") if isinstance(crs, dict) else None
        named = properties.get("name") if isinstance(properties, dict) else None
        if named not in _DEGREES:
            raise InputError(
                f"region file {path}: expected longitude and latitude in degrees (EPSG:4326), found the coordinate "
                f"system {str(named)[:80]!r}; convert it, for example with `ogr2ogr -t_srs EPSG:4326`"
            )
    kind = content.get("type")
    features: object = content.get("features") if kind == "FeatureCollection" else [content]
    if kind not in ("FeatureCollection", "Feature"):
        features = [{"type": "Feature", "properties": {}, "geometry": content}]
    if not isinstance(features, list) or not features:
        raise InputError(f"region file {path}: expected features with polygons, found none")
    geometries = [feature.get("geometry") if isinstance(feature, dict) else None for feature in features]
    others = {str(x.get("type") if isinstance(x, dict) else x)[:40] for x in geometries} - set(_POLYGONS)
    if others:
        raise InputError(
            f"region file {path}: expected {' and '.join(_POLYGONS)} alone, found {sorted(others)}; leave out the rest"
        )
    try:
        frame = geopandas.GeoDataFrame.from_features(
            [{"type": "Feature", "properties": {}, "geometry": x} for x in geometries], crs="EPSG:4326"
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.GEOSException) as error:
        raise InputError(f"region file {path}: a polygon cannot be read ({error}); mend the file") from error
    return frame.geometry


def _on_globe(polygons: geopandas.GeoSeries, path: Path) -> shapely.MultiPolygon:
    """Check polygons and unite them, cut at the antimeridian."""
    geometries = shapely.force_2d(polygons.to_numpy())
    if bool(shapely.is_empty(geometries).any()):
        raise InputError(f"region file {path}: a polygon is empty; leave it out")
    vertices = int(shapely.get_num_coordinates(geometries).sum())
    if vertices > MOST_VERTICES:
        raise InputError(
            f"region file {path}: {vertices} vertices, at most {MOST_VERTICES} are taken; simplify its polygons"
        )
    bounds = shapely.bounds(geometries)
    west, south, east, north = bounds[:, 0].min(), bounds[:, 1].min(), bounds[:, 2].max(), bounds[:, 3].max()
    if not (np.isfinite(bounds).all() and south >= -90 and north <= 90 and west >= -360 and east <= 360):
        raise InputError(
            f"region file {path}: expected degrees, longitude first, found a span from {west:g}, {south:g} to "
            f"{east:g}, {north:g}; look at its coordinate system and the order of its coordinates"
        )
    valid = shapely.is_valid(geometries)
    if not valid.all():
        k = int(np.argmin(valid))
        raise InputError(
            f"region file {path}: polygon {k + 1} is not valid ({shapely.is_valid_reason(geometries[k])}); mend it, "
            "for example with `ogr2ogr -makevalid`"
        )
    united = shapely.union_all(geometries)
    if west < -180 or east > 180:
        turns = [_laid_back(united, edge) for edge in (-540.0, -180.0, 180.0)]
        united = shapely.union_all([x for x in turns if not x.is_empty])
    return shapely.MultiPolygon([x for x in shapely.get_parts(united) if x.geom_type == "Polygon"])


def _laid_back(shape: shapely.Geometry, edge: float) -> shapely.MultiPolygon:
    """Cut out the 360° east of an edge and lay them on -180 to 180; lines that the cut leaves are dropped."""
    cut = shapely.intersection(shape, shapely.box(edge, -90, edge + 360, 90))
    moved = shapely.transform(cut, lambda xy: xy + np.array([-180.0 - edge, 0.0]))
    parts = shapely.get_parts(shapely.get_parts(moved))
    return shapely.MultiPolygon([x for x in parts if x.geom_type == "Polygon"])
