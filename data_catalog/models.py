"""The shapes of the catalogue's entries: one frozen pydantic model per kind, validated once, when it is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

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

    The limits are the service's own where it states them, else what good manners suggest; they hold for one workspace,
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
    """A named region: a bounding box, or a GeoJSON file beside the entry."""

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


class WorldSettings(Entry):
    """Size and seed of a virtual world (see ``plant_traits.simulation``)."""

    seed: int = 1
    photos: int = Field(default=6000, ge=50)
    species: int = Field(default=300, ge=10)
    observers: int = Field(default=400, ge=5)
    plots: int = Field(default=4000, ge=10)
    climate_resolution: float = Field(default=0.25, description="degrees of the CHELSA-format rasters")
    soil_resolution_m: float = Field(default=20000.0, description="metres of the SoilGrids-format rasters")
    photo_size: int = Field(default=224, ge=64, description="shorter side of a rendered photo in pixels")


class InputFile(Entry):
    """One input of a profile: which reader understands it, where it lies, and the source it belongs to."""

    reader: Identifier
    path: str
    source: Identifier


class RasterInput(Entry):
    """The folder that holds a raster source's files, and the layers a run reads from it."""

    source: Identifier
    path: str
    layers: tuple[str, ...]


class ProductInput(Entry):
    """The folder that holds a map product's files."""

    product: Identifier
    path: str


class Acquisition(Entry):
    """One source that a run fetches before it reads: which plug-in does it, and where its files go.

    ``into`` is a folder of the mirror; ``{month}`` and ``{region}`` in it (as in the paths of inputs) are the run's.
    ``settings`` are the plug-in's own, checked by it.
    """

    plugin: Identifier
    source: Identifier
    into: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class Inputs(Entry):
    """What a run reads, relative to ``root``: a folder of real files, or the mirror that acquisitions fill."""

    root: str | None = None
    world: WorldSettings | None = None
    acquire: tuple[Acquisition, ...] = ()
    occurrences: tuple[InputFile, ...] = ()
    photos: tuple[InputFile, ...] = ()
    traits: tuple[InputFile, ...] = ()
    rasters: tuple[RasterInput, ...] = ()
    plots: tuple[InputFile, ...] = ()
    gridded_plots: ProductInput | None = None
    products: tuple[ProductInput, ...] = ()
    truth: ProductInput | None = None

    @model_validator(mode="after")
    def _one_root(self) -> Inputs:
        if (self.root is None) == (self.world is None):
            raise ValueError("inputs need exactly one of `root` (a folder of real files) and `world` (a virtual world)")
        return self


class ModelSettings(Entry):
    """Encoder, network and training of the predictor."""

    encoder: str = "efficientnet-lite0"
    encoder_location: str | None = Field(default=None, description="hub id or local folder, for encoders of a hub")
    ensemble: int = Field(default=3, ge=1)
    hidden: int = 256
    blocks: int = 2
    dropout: float = 0.2
    modality_dropout: float = Field(default=0.3, ge=0, lt=1)
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    validation_block_degrees: float = 10.0
    patience: int = Field(
        default=10, ge=1, description="epochs without improvement on the held-out blocks before a stop"
    )
    growth_form_balance: float = Field(default=1.0, ge=0, le=1, description="0 draws records evenly, 1 growth forms")
    place_balance: float = Field(default=0.0, ge=0, le=1, description="0 draws records evenly, 1 places")
    covariate_noise: float = Field(default=0.1, ge=0, description="sd of the noise on standardised covariates")
    refit: bool = Field(default=True, description="train again on all records once the held-out blocks are scored")
    covariate_dropout: float = Field(default=0.5, ge=0, lt=1, description="share of covariates hidden in training")
    train_on_records: bool = Field(
        default=False, description="train on labelled records without a photo too, one per species and 1° cell"
    )
    seed: int = 1


class Profile(Entry):
    """A complete run: inputs, grid, model, estimators and how it is computed."""

    id: Identifier
    title: str
    grid: str = "1deg"
    month: str = Field(pattern=r"^\d{4}-\d{2}$")
    region: str = "world"
    traits: tuple[str, ...] = ("height", "leaf_area", "sla", "leaf_n")
    inputs: Inputs
    model: ModelSettings = ModelSettings()
    estimators: tuple[Literal["mean", "inverse_variance", "random_effects"], ...] = (
        "mean",
        "inverse_variance",
        "random_effects",
    )
    published_estimator: Literal["mean", "inverse_variance", "random_effects"] = "random_effects"
    minimum_photos: int = Field(default=5, ge=1, description="photos a cell needs to be mapped from photos")
    comparison_minimum_photos: int = Field(
        default=10, ge=1, description="photos a cell needs to take part in the comparison of photo maps"
    )
    comparison_shared_by: tuple[str, ...] = Field(
        default=(), description="maps whose cells define the shared cells; all with enough cells where empty"
    )
    workers: int = Field(default=2, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    shard_size: int = Field(default=4096, ge=1, le=4096)

    @model_validator(mode="after")
    def _published_is_computed(self) -> Profile:
        if self.published_estimator not in self.estimators:
            raise ValueError(f"published_estimator {self.published_estimator!r} is not among {self.estimators}")
        return self
