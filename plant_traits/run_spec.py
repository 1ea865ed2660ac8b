"""What a run is: its profile, region, month and grid, resolved against the catalogue and validated once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from data_catalog import Acquisition, Catalog, HostLimits, Inputs, Profile, Trait, load_catalog
from data_catalog.models import Entry
from plant_traits.errors import MissingInputError
from plant_traits.grid import Grid
from plant_traits.lattice import pieces
from plant_traits.month import Month
from plant_traits.region_geojson import find_region
from plant_traits.regions import Area, Collected, Region

EntryT = TypeVar("EntryT", bound=Entry)
REGION = "{region}"


@dataclass(frozen=True)
class RunSpec:
    """A frozen specification of one refresh, passed between tasks instead of data.

    Attributes:
        catalog: the catalogue, overlays included.
        profile: the run profile.
        month: records observed or published after this month do not take part.
        region: the part of the globe that is mapped.
        grid: the grid of the maps.
        data_root: folder of real files or mirror of fetched ones, or None for a virtual world.
        faults: share of requests that the stand-in services of a virtual world spoil.
        dask_address: an existing Dask scheduler, or None for a local cluster.
        collected: regions whose records make up the month's state, by name; all of the mapped region where there are
            none.
    """

    catalog: Catalog
    profile: Profile
    month: Month
    region: Region
    grid: Grid
    data_root: Path | None
    faults: float = 0.0
    dask_address: str | None = None
    collected: tuple[Region, ...] = ()

    @classmethod
    def resolve(
        cls,
        profile: str,
        *,
        month: str | None = None,
        region: str | None = None,
        grid: str | None = None,
        catalog: Catalog | None = None,
        variables: Mapping[str, str] | None = None,
        faults: float | None = None,
        dask_address: str | None = None,
    ) -> RunSpec:
        """Read a run's words; what is not said comes from the profile.

        Args:
            profile: id of a run profile.
            month: ``YYYY-MM``.
            region: a region of the catalogue, ``west,south,east,north`` or a GeoJSON file.
            grid: such as ``1deg``.
            catalog: the catalogue; the built-in one by default.
            variables: values for ``${NAME}`` in the profile's data folder.
            faults: share of requests that stand-in services spoil.
            dask_address: address of an existing Dask scheduler.

        Raises:
            CatalogError: the profile or region is unknown.
            GridError: the grid or region cannot be read.
            MissingInputError: the data folder is not set or not there.
            InputError: a GeoJSON file cannot be used.
        """
        catalog = catalog or load_catalog()
        entry = catalog.profile(profile)
        return cls(
            catalog=catalog,
            profile=entry,
            month=Month.parse(month or entry.month),
            region=find_region(region or entry.region, catalog),
            grid=Grid.parse(grid or entry.grid),
            data_root=_data_root(entry, variables or {}),
            faults=entry.inputs.faults if faults is None else faults,
            dask_address=dask_address,
        )

    @property
    def name(self) -> str:
        """A readable name of the run: profile, region, grid and month."""
        return f"{self.profile.id}-{self.region.path_name}-{self.grid}-{self.month}"

    @property
    def area(self) -> Area:
        """Where records must lie to take part."""
        return Collected(self.region, self.collected) if self.collected else self.region

    @property
    def area_key(self) -> list[object]:
        """What tells ``area`` from others, as JSON, for step keys."""
        return [self.region.key, [region.key for region in self.collected]]

    @cached_property
    def pieces(self) -> tuple[Region, ...]:
        """The tiles that collected regions are fetched by; none where the mapped region is fetched at once."""
        return pieces(self.collected, self.region, self.profile.split_degrees) if self.collected else ()

    @property
    def acquisitions(self) -> tuple[tuple[Acquisition, Region], ...]:
        """What the run fetches and of which region, with its own month and region in every path.

        An acquisition that brings occurrences by region is made once for each piece, unless it comes only whole.
        """
        return tuple(
            (item.model_copy(update={"into": self._placed(item.into, region)}), region)
            for item in self.profile.inputs.acquire
            for region in self._regions_of(item)
        )

    @property
    def inputs(self) -> Inputs:
        """What the run reads, with its own month and region in every path, each piece a file of its own."""
        inputs = self.profile.inputs

        def placed(text: str) -> str:
            return self._placed(text, self.region)

        def item_placed(item: EntryT) -> EntryT:
            return item.model_copy(update={"path": placed(getattr(item, "path"))})  # noqa: B009 - of several models

        def all_placed(items: tuple[EntryT, ...]) -> tuple[EntryT, ...]:
            return tuple(item_placed(item) for item in items)

        return inputs.model_copy(
            update={
                "acquire": tuple(item for item, _ in self.acquisitions),
                "brought": tuple(placed(name) for name in inputs.brought),
                "occurrences": tuple(
                    item.model_copy(update={"path": self._placed(item.path, region)})
                    for item in inputs.occurrences
                    for region in self._regions_of(self._bringing(item.path))
                ),
                "photos": all_placed(inputs.photos),
                "traits": all_placed(inputs.traits),
                "reference": None if inputs.reference is None else placed(inputs.reference),
                "rasters": all_placed(inputs.rasters),
                "plots": all_placed(inputs.plots),
                "gridded_plots": None if inputs.gridded_plots is None else item_placed(inputs.gridded_plots),
                "products": all_placed(inputs.products),
                "truth": None if inputs.truth is None else item_placed(inputs.truth),
            }
        )

    def _placed(self, text: str, region: Region) -> str:
        return text.replace("{month}", str(self.month)).replace(REGION, region.path_name)

    def _regions_of(self, item: Acquisition | None) -> tuple[Region, ...]:
        """Return the regions that an acquisition is made for: pieces where it brings occurrences by region."""
        if item is None or not item.split or REGION not in item.into:
            return (self.region,)
        brings = any(self._bringing(x.path) == item for x in self.profile.inputs.occurrences)
        return (self.pieces if brings else ()) or (self.region,)

    def _bringing(self, path: str) -> Acquisition | None:
        """Return the acquisition into whose folder a path of occurrences leads."""
        items = self.profile.inputs.acquire
        return next((x for x in items if PurePosixPath(path).is_relative_to(PurePosixPath(x.into))), None)

    @property
    def hosts(self) -> dict[str, HostLimits]:
        """The hosts that the run's acquisitions may ask, with their limits."""
        sources = dict.fromkeys(item.source for item in self.profile.inputs.acquire)
        return {limits.host: limits for source in sources for limits in self.catalog.source(source).hosts}

    @property
    def sources_with_accepted_names(self) -> tuple[str, ...]:
        """The occurrence sources that write the accepted names of GBIF's checklist themselves."""
        sources = dict.fromkeys(item.source for item in self.profile.inputs.occurrences)
        return tuple(source for source in sources if self.catalog.source(source).checklist is not None)

    @property
    def lineage(self) -> str:
        """A name for all runs that read the same occurrences for the same region, whatever the month and grid."""
        told = {
            "occurrences": [x.model_dump(mode="json") for x in self.profile.inputs.occurrences],
            "world": None if self.profile.inputs.world is None else self.profile.inputs.world.model_dump(mode="json"),
            "data": None if self.data_root is None else str(self.data_root),
            "region": self.region.key[1:],
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.profile.id}-{digest}"

    @property
    def cited(self) -> list[dict[str, object]]:
        """The catalogue's entries of every source the run reads, as JSON: licences, citations, layers."""
        inputs = self.profile.inputs
        files = (*inputs.occurrences, *inputs.photos, *inputs.traits, *inputs.plots)
        asked = (*(x.source for x in inputs.rasters), *(x.source for x in inputs.acquire), "natural-earth")
        ids = dict.fromkeys([*(x.source for x in files), *asked])
        return [self.catalog.source(source).model_dump(mode="json") for source in ids]

    @property
    def parameters(self) -> dict[str, object]:
        """Everything the specification says, as JSON, for step keys; catalogue entries included."""
        inputs = self.profile.inputs
        products = [x.product for x in (*inputs.products, inputs.gridded_plots, inputs.truth) if x is not None]
        return {
            "profile": self.profile.model_dump(
                mode="json", exclude={"workers": True, "device": True, "inputs": {"faults"}}
            ),
            "month": str(self.month),
            "region": self.region.key,
            "collected": [region.key for region in self.collected],
            "grid": self.grid.text,
            "traits": self.trait_parameters,
            "products": [self.catalog.product(x).model_dump(mode="json") for x in products],
        }

    @property
    def traits(self) -> tuple[Trait, ...]:
        """The traits that are mapped, in the profile's order."""
        return tuple(self.catalog.trait(trait) for trait in self.profile.traits)

    @property
    def trait_parameters(self) -> list[dict[str, object]]:
        """The traits as JSON, for step keys."""
        return [trait.model_dump(mode="json") for trait in self.traits]


def _data_root(profile: Profile, variables: Mapping[str, str]) -> Path | None:
    root = profile.inputs.root
    if root is None:
        return None
    if root.startswith("${") and root.endswith("}"):
        name = root[2:-1]
        if not variables.get(name):
            raise MissingInputError(
                f"profile {profile.id!r} reads real files: set {name} to the folder that holds them "
                f"(or give it with --data)"
            )
        root = variables[name]
    folder = Path(root).expanduser().resolve()
    if profile.inputs.acquire:  # the mirror is the run's own to make
        return folder
    if not folder.is_dir():
        raise MissingInputError(f"profile {profile.id!r} reads real files from {folder}, which is not a folder")
    return folder
