"""Read the catalogue's YAML files into models, and check that its entries fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from data_catalog.models import Entry, HostLimits, MapProduct, RegionEntry, Source, Trait
from data_catalog.profile import Profile

BUILT_IN = Path(__file__).parent

EntryT = TypeVar("EntryT", bound=Entry)


class CatalogError(ValueError):
    """An entry of the catalogue is missing, malformed or contradicts another."""


@dataclass(frozen=True)
class Catalog:
    """All entries, by id.

    Attributes:
        traits: traits that can be mapped.
        sources: data providers and their raster layers.
        products: map products to compare with.
        regions: named regions.
        profiles: run profiles.
    """

    traits: Mapping[str, Trait]
    sources: Mapping[str, Source]
    products: Mapping[str, MapProduct]
    regions: Mapping[str, RegionEntry]
    profiles: Mapping[str, Profile]

    def trait(self, trait_id: str) -> Trait:
        """Return a trait, or raise CatalogError naming the known ones."""
        return _get(self.traits, trait_id, "trait")

    def source(self, source_id: str) -> Source:
        """Return a source, or raise CatalogError naming the known ones."""
        return _get(self.sources, source_id, "source")

    def product(self, product_id: str) -> MapProduct:
        """Return a map product, or raise CatalogError naming the known ones."""
        return _get(self.products, product_id, "map product")

    def region(self, region_id: str) -> RegionEntry:
        """Return a named region, or raise CatalogError naming the known ones."""
        return _get(self.regions, region_id, "region")

    def profile(self, profile_id: str) -> Profile:
        """Return a run profile, or raise CatalogError naming the known ones."""
        return _get(self.profiles, profile_id, "profile")

    def check(self) -> list[str]:
        """Return every contradiction between entries, one sentence each; an empty list means the catalogue holds."""
        problems: list[str] = []
        for product in self.products.values():
            problems += [
                f"product {product.id!r} has a layer for the unknown trait {trait!r}"
                for trait in product.layers
                if trait not in self.traits
            ]
        owners: dict[int, str] = {}
        for trait in self.traits.values():
            for try_id in trait.try_ids:
                if try_id in owners:
                    problems.append(f"TRY trait {try_id} belongs to both {owners[try_id]!r} and {trait.id!r}")
                owners[try_id] = trait.id
        limits: dict[str, HostLimits] = {}
        for source in self.sources.values():
            for host in source.hosts:
                if limits.setdefault(host.host, host) != host:
                    problems.append(f"source {source.id!r} states other limits for {host.host} than another source")
        for profile in self.profiles.values():
            problems += [f"profile {profile.id!r}: {problem}" for problem in self._profile_problems(profile)]
        return problems

    def _profile_problems(self, profile: Profile) -> list[str]:
        problems = [f"unknown trait {trait!r}" for trait in profile.traits if trait not in self.traits]
        if profile.region not in self.regions:
            problems.append(f"unknown region {profile.region!r}")
        inputs = profile.inputs
        files = (*inputs.occurrences, *inputs.photos, *inputs.traits, *inputs.plots)
        named = [*(item.source for item in files), *(item.source for item in inputs.acquire)]
        problems += [f"unknown source {source!r}" for source in named if source not in self.sources]
        for raster in inputs.rasters:
            if raster.source not in self.sources:
                problems.append(f"unknown source {raster.source!r}")
                continue
            known = {layer.id for layer in self.sources[raster.source].layers}
            problems += [f"source {raster.source!r} has no layer {x!r}" for x in raster.layers if x not in known]
        products = [*inputs.products, *(x for x in (inputs.truth, inputs.gridded_plots) if x is not None)]
        problems += [f"unknown product {item.product!r}" for item in products if item.product not in self.products]
        return problems


def load_catalog(*overlays: Path) -> Catalog:
    """Read the built-in catalogue and lay the given folders over it.

    An overlay has the same layout (``traits/*.yaml``, ``profiles/*.yaml`` …); an entry with a known id replaces it.

    Args:
        overlays: folders with further entries, later ones winning.

    Returns:
        The validated catalogue.

    Raises:
        CatalogError: a file is not YAML, an entry does not validate, or entries contradict each other.
    """
    roots = (BUILT_IN, *overlays)
    for root in overlays:
        if not root.is_dir():
            raise CatalogError(f"catalogue folder {root} does not exist")
    catalog = Catalog(
        traits=_read_kind(roots, "traits", Trait),
        sources=_read_kind(roots, "sources", Source),
        products=_read_kind(roots, "products", MapProduct),
        regions=_read_kind(roots, "regions", RegionEntry),
        profiles=_read_kind(roots, "profiles", Profile),
    )
    problems = catalog.check()
    if problems:
        raise CatalogError("the catalogue contradicts itself:\n  " + "\n  ".join(problems))
    return catalog


def _read_kind(roots: tuple[Path, ...], folder: str, model: type[EntryT]) -> dict[str, EntryT]:
    entries: dict[str, EntryT] = {}
    for root in roots:
        seen: dict[str, Path] = {}
        for path in sorted((root / folder).glob("*.yaml")):
            for raw in _documents(path):
                try:
                    entry = model.model_validate(raw)
                except ValidationError as error:
                    raise CatalogError(f"{path}: {error}") from error
                entry_id = str(raw["id"])
                if entry_id in seen:
                    raise CatalogError(f"{path}: {entry_id!r} is already defined in {seen[entry_id]}")
                seen[entry_id] = path
                entries[entry_id] = entry
    return entries


def _documents(path: Path) -> list[dict[str, object]]:
    try:
        content = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise CatalogError(f"{path} is not valid YAML: {error}") from error
    for document in content:
        if not isinstance(document, dict):
            raise CatalogError(f"{path}: each YAML document must be a mapping, found {type(document).__name__}")
    return content


def _get(entries: Mapping[str, EntryT], entry_id: str, kind: str) -> EntryT:
    try:
        return entries[entry_id]
    except KeyError:
        raise CatalogError(f"unknown {kind} {entry_id!r}; the catalogue has: {', '.join(sorted(entries))}") from None
