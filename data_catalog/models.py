"""The shapes of the catalogue's entries: one frozen pydantic model per kind, validated once, when it is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Space = Literal["natural", "ln", "log10"]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]*$")]


class Entry(BaseModel):
    """Common ground of all entries: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Trait(Entry):
    """A plant trait: its unit, where TRY keeps it, and the space and likelihood the model works with.

    ``valid_range`` bounds credible single-plant values in ``unit``; a value outside it is an error of the data.
    ``unit_factors`` maps every spelling of a unit seen in sources to the factor that brings it to ``unit``.
    """

    id: Identifier
    name: str
    definition: str
    unit: str
    try_ids: tuple[int, ...] = ()
    working_space: Literal["ln", "identity"] = "ln"
    likelihood: Literal["gaussian", "laplace"] = "gaussian"
    valid_range: tuple[float, float]
    unit_factors: dict[str, float] = Field(default_factory=dict)
    long_name: str | None = None

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Trait:
        low, high = self.valid_range
        if not low < high:
            raise ValueError(f"valid_range must be (low, high) with low < high, found {self.valid_range}")
        if self.working_space == "ln" and low <= 0:
            raise ValueError(f"a trait in ln space needs a positive valid_range, found {self.valid_range}")
        return self


class RasterLayer(Entry):
    """One covariate raster: how stored numbers become values, ``value = stored * scale + offset``."""

    id: Identifier
    name: str
    unit: str
    file: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    crs: str = "EPSG:4326"
    valid_range: tuple[float, float]
    log: bool = Field(default=False, description="the model reads ln(1 + value) of this layer")


class HostLimits(Entry):
    """A host that a source may be fetched from, and how much may be asked of it.

    The limits are the service's own where it states them, else what good manners suggest; they hold for one mirror,
    over all of its processes and over restarts.
    """

    host: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.\-]*[a-z0-9])?$")]
    requests_per_minute: float = Field(gt=0)
    requests_per_day: int | None = Field(default=None, ge=1)
    bytes_per_hour: int | None = Field(default=None, ge=1)
    bytes_per_day: int | None = Field(default=None, ge=1)
    connections: int = Field(default=1, ge=1, le=64)


class Source(Entry):
    """A provider of data: what it is, from which hosts it comes, under which licence, and how to cite it."""

    id: Identifier
    title: str
    kind: Literal["occurrences", "photos", "traits", "raster", "plots", "reference"]
    url: str | None = None
    licence: str
    doi: str | None = None
    citation: str
    notes: str | None = None
    checklist: str | None = Field(default=None, description="the taxonomy whose accepted names the source writes")
    hosts: tuple[HostLimits, ...] = ()
    layers: tuple[RasterLayer, ...] = ()

    def layer(self, layer_id: str) -> RasterLayer:
        """Return the layer of that id, or raise KeyError naming the known ones."""
        for layer in self.layers:
            if layer.id == layer_id:
                return layer
        raise KeyError(f"source {self.id!r} has no layer {layer_id!r}; it has {[x.id for x in self.layers]}")


class ProductLayer(Entry):
    """How one trait is stored in a map product: ``canonical = stored * factor`` when the space is natural."""

    file: str
    band: int = 1
    factor: float = 1.0
    space: Space = "natural"
    mask_at_or_below: float | None = None


class MapProduct(Entry):
    """A published (or simulated) gridded trait map, or gridded plot means, to compare with."""

    id: Identifier
    title: str
    role: Literal["truth", "product"] = "product"
    native_grid: str
    format: str
    layers: dict[str, ProductLayer] = Field(default_factory=dict)
    fetched: bool = Field(default=False, description="a copy can be had by a run profile")
    simulated: bool = False
    address: str | None = None
    doi: str | None = None
    licence: str = "not stated"
    citation: str
    independent_of: tuple[str, ...] = ()
    notes: str | None = None


class RegionEntry(Entry):
    """A named region: a bounding box. Other shapes are GeoJSON files, see ``plant_traits.region_geojson``."""

    id: Identifier
    name: str
    bbox: tuple[float, float, float, float] = Field(description="west, south, east, north in degrees")

    @field_validator("bbox")
    @classmethod
    def _bbox_in_range(cls, bbox: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        west, south, east, north = bbox
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
            raise ValueError(f"bbox must be west, south, east, north in degrees with south < north, found {bbox}")
        return bbox
