"""What a run is: its profile, region, month and grid, resolved against the catalogue and validated once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from data_catalog import Acquisition, Catalog, HostLimits, Inputs, Profile, Trait, load_catalog
from data_catalog.models import Entry
from plant_traits.errors import MissingInputError
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.regions import Region

EntryT = TypeVar("EntryT", bound=Entry)


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
    """

    catalog: Catalog
    profile: Profile
    month: Month
    region: Region
    grid: Grid
    data_root: Path | None
    faults: float = 0.0
    dask_address: str | None = None

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
            region: a region of the catalogue or ``west,south,east,north``.
            grid: such as ``1deg``.
            catalog: the catalogue; the built-in one by default.
            variables: values for ``${NAME}`` in the profile's data folder.
            faults: share of requests that stand-in services spoil.
            dask_address: address of an existing Dask scheduler.

        Raises:
            CatalogError: the profile or region is unknown.
            GridError: the grid or region cannot be read.
            MissingInputError: the data folder is not set or not there.
        """
        catalog = catalog or load_catalog()
        entry = catalog.profile(profile)
        return cls(
            catalog=catalog,
            profile=entry,
            month=Month.parse(month or entry.month),
            region=Region.parse(region or entry.region, catalog),
            grid=Grid.parse(grid or entry.grid),
            data_root=_data_root(entry, variables or {}),
            faults=entry.inputs.faults if faults is None else faults,
            dask_address=dask_address,
        )

    @property
    def name(self) -> str:
        """A readable name of the run: profile, region, grid and month."""
        return f"{self.profile.id}-{self._region_name}-{self.grid}-{self.month}"

    @property
    def inputs(self) -> Inputs:
        """What the run reads, with its own month and region in every path."""
        inputs = self.profile.inputs

        def placed(text: str) -> str:
            return text.replace("{month}", str(self.month)).replace("{region}", self._region_name)

        def item_placed(item: EntryT) -> EntryT:
            name = "into" if isinstance(item, Acquisition) else "path"
            return item.model_copy(update={name: placed(getattr(item, name))})

        def all_placed(items: tuple[EntryT, ...]) -> tuple[EntryT, ...]:
            return tuple(item_placed(item) for item in items)

        return inputs.model_copy(
            update={
                "acquire": all_placed(inputs.acquire),
                "brought": tuple(placed(name) for name in inputs.brought),
                "occurrences": all_placed(inputs.occurrences),
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
    def _region_name(self) -> str:
        return "".join(c if c.isalnum() or c in ".-" else "_" for c in self.region.name)

    @property
    def lineage(self) -> str:
        """A name for all runs that read the same occurrences for the same region, whatever the month and grid."""
        told = {
            "occurrences": [x.model_dump(mode="json") for x in self.profile.inputs.occurrences],
            "world": None if self.profile.inputs.world is None else self.profile.inputs.world.model_dump(mode="json"),
            "data": None if self.data_root is None else str(self.data_root),
            "region": list(self.region.bbox),
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
            "region": [self.region.name, *self.region.bbox],
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
