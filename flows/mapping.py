"""The maps of one month, from its sources to a release, one stage a line: shared by refresh and backfill."""

from __future__ import annotations

from data_catalog import NamesGate
from flows.preparation import ModelInputs, Records, gather_model_inputs, gather_records, obtain_model
from plant_traits.steps import Artifact
from tasks.cells import assess, estimate, expect, fill_cells, merge, reduce_moments, reduce_to_subcells, weigh
from tasks.context import RunContext
from tasks.kept_model import tell_of
from tasks.maps import NAMES, cite, compare, lay_out_maps, release, show_photos, tell_of_names
from tasks.model import bring_to_grid, predict_land_cells, predict_records
from tasks.observations import LIVE_SHARDS, SHARD_PLAN, SHARDS

AS_STATED = ", names as stated"


def refresh_maps(run: RunContext, model: str = "kept", names_gate: NamesGate = "on") -> str:
    """Bring the maps of a run's month up to date and return the address of the release.

    Args:
        run: the run.
        model: ``kept``, ``new``, or the folder or address of a model, see ``flows.refresh.refresh``.
        names_gate: ``on`` or ``off``, see there.
    """
    run.spec.region.check_holds_cells(run.spec.grid)
    records = gather_records(run)
    world, inputs = records.world, records.inputs
    covariates = bring_to_grid(run, world, inputs)
    read = gather_model_inputs(run, records, names_gate)
    shards, live = read.shards.shards, read.names.live
    kept = obtain_model(run, records, read, model)
    predictions = predict_records(run, shards, read.features, read.points, kept.model)
    land = predict_land_cells(run, world, covariates, kept.model)
    shard_moments = reduce_moments(run, live, predictions)
    moments = merge(run, shard_moments)
    estimates = estimate(run, world, moments, covariates)
    cells = fill_cells(run, world, inputs, estimates, land, covariates, kept.model)
    applicability = assess(run, world, covariates, kept.model)
    bias = expect(run, world, inputs, estimates, covariates)
    sums = reduce_to_subcells(run, live, predictions)
    weighted = weigh(run, sums, records.observations)
    maps = lay_out_maps(run, inputs, cells, estimates, applicability, weighted, bias, kept.model)
    comparison = compare(run, world, inputs, maps, cells, estimates, weighted, land, records.observations, records.taxa)
    told = tell_of_gate(run, records, read, predictions, covariates, estimates, comparison)
    used = cite(run, world, maps, live, predictions, read.names.made_of.get("votes"))
    sheet = show_photos(run, shards, live, predictions, read.points, read.features, kept.model)
    return release(
        run,
        {
            "inputs": inputs,
            "trait records": records.trait_records,
            "names": records.names,
            "species traits": records.taxa,
            "observations": records.observations,
            "photos": records.photos,
            "covariates": covariates,
            SHARD_PLAN: read.shards.plan,
            SHARDS: shards,
            LIVE_SHARDS: read.shards.live,
            "point covariates": read.points,
            "photo features": read.features,
            **read.names.made_of,
            **kept.made_of,
            "model": kept.model,
            "choice of the model": tell_of(run, kept),
            "predictions": predictions,
            "land cells": land,
            "moments of shards": shard_moments,
            "moments": moments,
            "estimates": estimates,
            "cells": cells,
            "applicability": applicability,
            "expected bias": bias,
            "sums of sub-cells": sums,
            "cells weighed by effort": weighted,
            "maps": maps,
            "comparison": comparison,
            NAMES: told,
            "records used": used,
            "page of photos": sheet,
            "model page": kept.page,
        },
    )


def tell_of_gate(
    run: RunContext,
    records: Records,
    read: ModelInputs,
    predictions: Artifact,
    covariates: Artifact,
    estimates: Artifact,
    comparison: Artifact,
) -> Artifact | None:
    """Tell what the gate of names did to the cells; None where names are taken as stated."""
    decisions = read.names.decisions
    if decisions is None:
        return None
    moments = merge(run, reduce_moments(run, read.shards.live, predictions, AS_STATED), AS_STATED)
    stated = estimate(run, records.world, moments, covariates, AS_STATED)
    return tell_of_names(run, decisions, estimates, stated, comparison)
