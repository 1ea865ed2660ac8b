"""What exists: traits, sources, map products, regions and run profiles, as YAML checked by pydantic models."""

from data_catalog.loading import Catalog, CatalogError, load_catalog
from data_catalog.models import (
    Acquisition,
    HostLimits,
    MapProduct,
    ModelSettings,
    ProductLayer,
    Profile,
    RasterLayer,
    RegionEntry,
    Source,
    Trait,
    WorldSettings,
)

__all__ = [
    "Acquisition",
    "Catalog",
    "CatalogError",
    "HostLimits",
    "MapProduct",
    "ModelSettings",
    "ProductLayer",
    "Profile",
    "RasterLayer",
    "RegionEntry",
    "Source",
    "Trait",
    "WorldSettings",
    "load_catalog",
]
