"""What exists: traits, sources, map products, regions and run profiles, as YAML checked by pydantic models."""

from data_catalog.loading import Catalog, CatalogError, load_catalog
from data_catalog.models import HostLimits, MapProduct, ProductLayer, RasterLayer, RegionEntry, Source, Trait
from data_catalog.profile import Acquisition, Inputs, ModelSettings, Profile, WorldSettings

__all__ = [
    "Acquisition",
    "Catalog",
    "CatalogError",
    "HostLimits",
    "Inputs",
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
