"""What exists: traits, sources, map products, regions and run profiles, as YAML checked by pydantic models."""

from data_catalog.loading import Catalog, CatalogError, load_catalog
from data_catalog.models import HostLimits, MapProduct, ProductLayer, RasterLayer, RegionEntry, Source, Trait
from data_catalog.profile import Acquisition, ImageLayout, Inputs, ModelSettings, NamesGate, Profile, WorldSettings

__all__ = [
    "Acquisition",
    "Catalog",
    "CatalogError",
    "HostLimits",
    "ImageLayout",
    "Inputs",
    "MapProduct",
    "ModelSettings",
    "NamesGate",
    "ProductLayer",
    "Profile",
    "RasterLayer",
    "RegionEntry",
    "Source",
    "Trait",
    "WorldSettings",
    "load_catalog",
]
