"""Fetch everything of the profile `tiny` from stand-ins, without Prefect: run as a process that tests may kill."""

from __future__ import annotations

import sys
from pathlib import Path

from plant_traits.run_spec import RunSpec
from plant_traits.simulation.services import serve
from plant_traits.sources.inputs import InputSet, fingerprint, listing
from plant_traits.sources.protocol import NAMES, OBSERVATIONS, VOTED
from plant_traits.sources.web.client import Patience, Web
from plant_traits.stages.acquisition import ACCOUNT, acquire, acquisitions, bring
from plant_traits.stages.names import collect_names, keep_answers
from plant_traits.stages.observations import build_observations
from plant_traits.stages.taxa import gather_trait_records, summarise_taxa
from plant_traits.stages.votes import name_by_votes

SERVICES = ".services"


def fetch_all(world: Path, mirror: Path, tables: Path, faults: float) -> None:
    """Fetch tables and rasters, clean the observations into ``tables``, then fetch their votes and photos."""
    spec = RunSpec.resolve("tiny", faults=faults)
    bring(mirror, world, spec.inputs.brought)
    rates = {host: limits.requests_per_minute for host, limits in spec.hosts.items()}
    patience = Patience(attempts=8, first_wait_s=0.05, longest_wait_s=2.0, timeout_s=20.0)
    with (
        serve(world, state=mirror / SERVICES, faults=spec.faults, seed=3, rates=rates) as services,
        Web(
            spec.hosts, mirror / ACCOUNT, routes=services.routes, credentials=services.credentials, patience=patience
        ) as web,
    ):
        acquire(spec, mirror, web, items=acquisitions(spec))
        asked = tables / "asked"
        asked.mkdir(parents=True, exist_ok=True)
        listed = listing(spec.inputs, spec.profile.traits, spec.catalog, mirror)
        fingerprint(tables, listed=listed, root=mirror)
        inputs = InputSet.read(tables / "inputs.json")
        gather_trait_records(tables, root=mirror, inputs=inputs, traits=spec.traits)
        accepted = spec.sources_with_accepted_names
        collect_names(asked, root=mirror, inputs=inputs, records=tables, accepted=accepted)
        acquire(spec, mirror, web, items=acquisitions(spec, NAMES), tables={NAMES: asked / "names.parquet"})
        keep_answers(tables, answers=mirror / "names" / "names.parquet")
        summarise_taxa(tables, records=tables, names=tables, traits=spec.traits)
        build_observations(
            tables,
            root=mirror,
            inputs=inputs,
            taxa=tables,
            month=spec.month,
            region=spec.region,
            salt="virtual",
            previous_ledger=None,
            names=tables,
            accepted=accepted,
        )
        observations = tables / "observations.parquet"
        voted = acquisitions(spec, VOTED)
        acquire(spec, mirror, web, items=voted, tables={VOTED: observations})
        folders = [mirror / wanted.item.into for wanted in voted]
        name_by_votes(tables, identifications=folders, observations=tables, names=tables)
        acquire(spec, mirror, web, items=acquisitions(spec, OBSERVATIONS), tables={OBSERVATIONS: observations})


if __name__ == "__main__":
    fetch_all(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
