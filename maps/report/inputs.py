"""What the report and the summary of a run are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import xarray as xr

from data_catalog import Trait
from maps.comparison.name_effect import NamesTold


@dataclass(frozen=True)
class StageRecord:
    """What one stage took in, gave out and lost.

    Attributes:
        name: the stage's name as people say it.
        digest: hash of its output.
        counts: what went in and came out, such as ``in`` and ``out``.
        losses: reason to number lost.
        outputs: where its output lies.
    """

    name: str
    digest: str
    counts: Mapping[str, int]
    losses: Mapping[str, int]
    outputs: str


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report shows; the page is a function of it alone.

    It tells neither times nor what a rerun found finished, so that the same run gives the same page.

    Attributes:
        title: heading of the page.
        profile: the profile as plain data.
        region: name of the region.
        month: YYYY-MM.
        grid: such as ``1deg``.
        product: the map product (trait, lat, lon), see the architecture.
        traits: the product's traits, in display order.
        scores: rows of the SCORE schema.
        differences: the columns of ``comparison.DIFFERENCE_COLUMNS``, or trait, map_a, map_b, difference, low, high:
            correlation of a less that of b.
        coverage: trait, level, coverage, n: how often intervals of a nominal level held the known truth; a column
            ``map`` where it holds more than the published map.
        references: name (such as ``plots``, ``truth``) to a dataset with ``location`` (trait, lat, lon), working space.
        stages: one record per stage, in order.
        inputs: name, source, bytes, sha256 of every file read.
        citations: source title, licence, doi, citation.
        versions: package or model to version.
        training: trait to metric to value, nested as deep as the trainer likes.
        outputs: label to path relative to the report.
        simulated: the inputs come from a virtual world.
        notes: sentences for the reader.
        maps: other maps' ``location``, drawn beside the published one in the scatter figures.
        published_map: the name under which the scores hold the product; the first map when absent there.
        plot_coverage: how often intervals of cells held plots' means, cross-fitted, see ``maps.small_area.fill``; None
            where the run has no plots.
        unseen: published ``location`` that a reference of that name had no say in, drawn against it instead of the
            product's.
        names: what the gate of names did; None where the run had none.
    """

    title: str
    profile: Mapping[str, Any]
    region: str
    month: str
    grid: str
    product: xr.Dataset
    traits: Sequence[Trait]
    scores: pd.DataFrame
    differences: pd.DataFrame | None
    coverage: pd.DataFrame | None
    references: Mapping[str, xr.Dataset]
    stages: Sequence[StageRecord]
    inputs: Sequence[Mapping[str, Any]]
    citations: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]
    training: Mapping[str, Any]
    outputs: Mapping[str, str]
    simulated: bool
    notes: Sequence[str] = ()
    maps: Mapping[str, xr.Dataset] = field(default_factory=dict)
    published_map: str | None = None
    plot_coverage: pd.DataFrame | None = None
    unseen: Mapping[str, xr.Dataset] = field(default_factory=dict)
    names: NamesTold | None = None

    @property
    def published_name(self) -> str:
        """The name under which the scores hold the product, or ``this map`` where there are no scores."""
        names = list(dict.fromkeys(self.scores["map"])) if len(self.scores) else []
        if self.published_map is not None and (self.published_map in names or not names):
            return self.published_map
        return str(names[0]) if names else "this map"

    def trait_name(self, trait_id: str) -> str:
        """Return a trait's display name, its id where the product does not hold it."""
        return next((trait.name for trait in self.traits if trait.id == trait_id), trait_id)
