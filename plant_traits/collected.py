"""Which regions have been collected for a month, kept beside the runs of a lineage: a set that only grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from plant_traits.errors import GridError, InputError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.workspace import Workspace

_FOLDER = "collected"
_WHOLE = "whole.json"


@dataclass(frozen=True)
class CollectedMonth:
    """What has been collected for a month.

    Attributes:
        whole: all of the mapped region, at once.
        regions: regions that were backfilled, by name.
    """

    whole: bool
    regions: tuple[Region, ...]


def record_collected(workspace: Workspace, lineage: str, month: Month, regions: Sequence[Region]) -> None:
    """Note in ``collected/<lineage>/<month>/`` that regions have been collected; to note them again changes nothing.

    Args:
        workspace: where runs are kept.
        lineage: see ``RunSpec.lineage``.
        month: the month whose records were fetched.
        regions: the regions; none where all of the mapped region was fetched at once.
    """
    notes: dict[str, object] = {} if regions else {_WHOLE: {"whole": True}}
    for region in regions:
        digest = hashlib.sha256(json.dumps(region.key).encode()).hexdigest()[:8]
        shape = None if region.shape is None else shapely.to_wkb(region.shape, hex=True)  # exact, unlike decimals
        name = f"region-{region.path_name[:100]}-{digest}.json"
        notes[name] = {"name": region.name, "bbox": list(region.bbox), "shape": shape}
    for name, content in notes.items():
        text = json.dumps(content, sort_keys=True).encode()
        if workspace.read_bytes(_FOLDER, lineage, str(month), name) != text:
            workspace.write_bytes(text, _FOLDER, lineage, str(month), name)


def read_collected(workspace: Workspace, lineage: str, month: Month) -> CollectedMonth:
    """Return what has been collected for a month.

    Raises:
        WorkspaceError: a note is damaged.
    """
    names = [x.rpartition("/")[2] for x in workspace.list(_FOLDER, lineage, str(month))]
    notes = [name for name in names if name.startswith("region-") and name.endswith(".json")]
    regions = [_read(workspace, lineage, month, name) for name in notes]
    return CollectedMonth(_WHOLE in names, tuple(sorted(regions, key=_order)))


def plan_backfill(
    workspace: Workspace, lineage: str, region: Region, months: Sequence[Month]
) -> dict[Month, tuple[Region, ...]]:
    """Say which regions make up the state of each month once a region has been collected for all of them.

    A month's state is made of the regions that were collected for it and of those of the month before it, which are
    collected along: a region that was left out would look as if its records had been retracted.

    Args:
        workspace: where runs are kept.
        lineage: see ``RunSpec.lineage``.
        region: what is collected.
        months: for which months, in ascending order.

    Returns:
        The regions of each month, by name; none where all of the mapped region has been collected for it already.

    Raises:
        InputError: the month before one of them was collected whole, so that a region alone cannot follow it.
        WorkspaceError: a note is damaged.
    """
    plan: dict[Month, tuple[Region, ...]] = {}
    recorded = {Month.parse(x.rstrip("/").rpartition("/")[2]) for x in workspace.list(_FOLDER, lineage)}
    for month in months:
        now = read_collected(workspace, lineage, month)
        if now.whole:
            plan[month] = ()
            continue
        earlier = max((x for x in recorded | set(plan) if x < month), default=None)
        before = CollectedMonth(False, ()) if earlier is None else read_collected(workspace, lineage, earlier)
        if before.whole:
            raise InputError(
                f"{earlier} was refreshed for all of the mapped region: if {month} held {region.name!r} alone, all "
                f"other records would be taken for retracted. Run `refresh` for {month}, which collects it too"
            )
        along = before.regions if earlier is None else plan.get(earlier, before.regions)
        distinct = {json.dumps(x.key): x for x in (*now.regions, *along, region)}
        plan[month] = tuple(sorted(distinct.values(), key=_order))
    return plan


def _order(region: Region) -> tuple[str, str]:
    return region.name, json.dumps(region.key)


def _read(workspace: Workspace, lineage: str, month: Month, name: str) -> Region:
    address = workspace.address(_FOLDER, lineage, str(month), name)
    try:
        content = json.loads(workspace.read_bytes(_FOLDER, lineage, str(month), name) or b"")
        west, south, east, north = (float(x) for x in content["bbox"])
        shape = content["shape"] if content["shape"] is None else shapely.from_wkb(content["shape"])
        if not (shape is None or isinstance(shape, shapely.MultiPolygon)):
            raise TypeError(f"a shape of polygons is expected, found {shape.geom_type}")
        return Region(str(content["name"]), west, south, east, north, shape)
    except (ValueError, TypeError, KeyError, shapely.GEOSException, GridError) as error:
        raise WorkspaceError(
            f"{address} does not tell a region ({error!r}): remove it and backfill that region for {month} again"
        ) from error
