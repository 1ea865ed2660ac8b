"""The shapes of run profiles: what a run fetches and reads, and how it models, estimates and computes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from data_catalog.models import Entry, Identifier

Estimator = Literal["mean", "inverse_variance", "random_effects", "mixed"]


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
    first_month: str = Field(
        default="2026-10", pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="by its end, `photos` photos are published"
    )
    later_months: int = Field(default=6, ge=0, le=36, description="months after it in which the records change")
    misidentified: float = Field(default=0.08, ge=0, le=0.5, description="share of the records under a wrong name")
    monthly_change: float = Field(
        default=0.01,
        ge=0,
        le=0.2,
        description="share of the records added, changed and retracted, each, in every later month",
    )


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
    Occurrences of collected regions are fetched a piece at a time, each into a folder of its own, where ``into`` has
    ``{region}`` and ``split`` holds; else once, for the mapped region. ``settings`` are the plug-in's own, checked by
    it.
    """

    plugin: Identifier
    source: Identifier
    into: str
    split: bool = Field(default=True, description="the service can be asked for a part of the region alone")
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class Inputs(Entry):
    """What a run reads, relative to ``root``: a folder of real files, or the mirror that acquisitions fill.

    A virtual world without acquisitions is read as it lies; with them, its files are fetched from stand-in services
    into a mirror inside the workspace.
    """

    root: str | None = None
    world: WorldSettings | None = None
    acquire: tuple[Acquisition, ...] = ()
    brought: tuple[str, ...] = Field(
        default=(), description="folders of the mirror that nobody serves: people put them there, or the virtual world"
    )
    faults: float = Field(default=0.0, ge=0, le=0.5, description="share of requests that stand-in services spoil")
    occurrences: tuple[InputFile, ...] = ()
    photos: tuple[InputFile, ...] = ()
    traits: tuple[InputFile, ...] = ()
    reference: str | None = Field(default=None, description="folder of places that records are tested against")
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
    encoder_location: str | dict[str, str] | None = Field(
        default=None, description="hub id or local folder, for encoders of a hub; by encoder where several need one"
    )
    location_encoder: str = Field(
        default="covariates", description="covariates, geoclip, climplicit, or several of them joined by +"
    )
    location_encoder_location: str | None = Field(
        default=None, description="hub id or local folder, for location encoders of a hub"
    )
    network: Literal["default", "planttraitnet-published"] = Field(
        default="default", description="the published preset has its own sizes and reads dinov2-tokens+depth-anything"
    )
    network_start: str | None = Field(
        default=None, description="converted published checkpoint (safetensors) that the published preset starts from"
    )
    ensemble: int = Field(default=3, ge=1)
    hidden: int = 256
    blocks: int = 2
    dropout: float = 0.2
    modality_dropout: float = Field(default=0.3, ge=0, lt=1)
    photo_weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the photo alone in a prediction from photo and place together"
    )
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    validation_block_degrees: float = 10.0
    species_share: float = Field(default=0.1, ge=0, lt=0.5, description="share of the species held out to score")
    photo_share: float = Field(default=0.05, ge=0, lt=0.5, description="share of the other occasions held out to score")
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
    labels: Literal["species_normal", "species_records"] = Field(
        default="species_normal",
        description="draw weak labels from a two-sided normal of the species, or from the species' own records",
    )
    local_labels: bool = Field(
        default=True, description="move a species' label by what measured plants of one species differ in with climate"
    )
    cleaning: Literal["none", "published", "cross_fitted"] = Field(
        default="cross_fitted",
        description="drop photos before training: uncertain ones, as published, or those whose label others contradict",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of matrix products; auto is bfloat16 on a GPU and float32 on a processor"
    )
    seed: int = 1


NamesGate = Literal["on", "off"]
"""Whether a run judges names where its lineage keeps a names model."""

ImageLayout = Literal["plantnet300k", "inaturalist2019"]
"""Sets of labelled images that a names model can be trained on."""


class NamesSettings(Entry):
    """The names model and the gate that names pass before they are mapped (see ``plant_traits.taxa.gate``)."""

    train: bool = Field(default=False, description="train one in a refresh whose lineage keeps none that fits")
    folds: int = Field(default=5, ge=2, description="of observers; a photo is judged by a model of the other folds")
    epochs: int = Field(default=12, ge=1, description="of each fold's model, at most")
    photos_per_species: int = Field(default=200, ge=2, description="most photos of a species to learn from")
    gate: dict[str, JsonValue] = Field(
        default_factory=dict, description="thresholds other than the default, see plant_traits.taxa.gate.settings"
    )


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
    names: NamesSettings = NamesSettings()
    estimators: tuple[Estimator, ...] = ("mean", "inverse_variance", "random_effects", "mixed")
    published_estimator: Estimator = "mixed"
    minimum_photos: int = Field(default=5, ge=1, description="photos of a cell that is flagged as known from photos")
    comparison_minimum_photos: int = Field(
        default=10, ge=1, description="photos a cell needs to take part in the comparison of photo maps"
    )
    comparison_shared_by: tuple[str, ...] = Field(
        default=(), description="maps whose cells define the shared cells; all with enough cells where empty"
    )
    published_at: str | None = Field(
        default=None, pattern="^https://", description="where the maps can be had; a citation of their records names it"
    )
    photos_per_observer_day: int | None = Field(
        default=5,
        ge=1,
        description="most photos of a species by one observer on one day in one cell of 1 degree; null for no cap",
    )
    largest_drop: float = Field(
        default=0.2, gt=0, le=1, description="share of a source's records that may disappear from one month to the next"
    )
    may_shrink: tuple[str, ...] = Field(default=(), description="sources of which more than that may disappear")
    show_unlicensed_photos: bool = Field(
        default=False, description="show photos without an open licence too, on a page that is not to be passed on"
    )
    workers: int = Field(default=2, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    shard_size: int = Field(default=4096, ge=1, le=4096)
    split_degrees: float = Field(
        default=30.0, gt=0, le=180, description="size of the tiles that a backfill fetches regions by; divides 180"
    )

    @model_validator(mode="after")
    def _tiles_fit_the_globe(self) -> Profile:
        if not (180 / self.split_degrees).is_integer():
            raise ValueError(f"split_degrees must divide 180, found {self.split_degrees:g}")
        return self

    @model_validator(mode="after")
    def _published_is_computed(self) -> Profile:
        if self.published_estimator not in self.estimators:
            raise ValueError(f"published_estimator {self.published_estimator!r} is not among {self.estimators}")
        return self
