"""Tasks: votes on names, the names model that a lineage keeps, and the gate that names pass before they are mapped."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from data_catalog import ImageLayout, NamesGate
from plant_traits.code_version import code_version
from plant_traits.inference.cluster import ShardJob
from plant_traits.kept_names_model import KeptNamesModel, find_kept_names, keep_names_model
from plant_traits.kept_pointer import differences
from plant_traits.runs import point_at
from plant_traits.stages import name_gate
from plant_traits.stages.shards import ShardSet
from plant_traits.stages.train_names import NamedShard, train_names_on_images, train_names_on_shards
from plant_traits.stages.votes import name_by_votes, state_of_identifications
from plant_traits.steps import Artifact
from plant_traits.taxa.gate.fitting import CrossFitting
from plant_traits.taxa.gate.settings import GateSettings
from plant_traits.taxa.votes.vote_rule import VoteRule
from tasks.context import RunContext
from tasks.sources import fetch_identifications

DECISIONS = "decisions on names"
_LABELS = (".json", ".csv", ".tsv", ".txt")

logger = logging.getLogger("plant_traits.run")


@dataclass(frozen=True)
class AcceptedNames:
    """The live rows of a run's shards under the names it maps and trains on.

    Attributes:
        live: a collection of live views, see ``plant_traits.stages.shards.ShardSet``.
        made_of: outputs of the stages behind it, by name; none where names are taken as stated.
    """

    live: Artifact
    made_of: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def decisions(self) -> Artifact | None:
        """What the gate decided, gathered from all shards; None where names are taken as stated."""
        return self.made_of.get(DECISIONS)


@task(name="choose names model", cache_policy=NO_CACHE)
def choose_names_model(run: RunContext, names_gate: NamesGate) -> KeptNamesModel | None:
    """Return the names model that the run's lineage keeps, None where names are to be taken as stated.

    Args:
        run: the run.
        names_gate: ``on`` for the lineage's names model, where it keeps one of the run's photo encoder; ``off`` for
            none.
    """
    if names_gate == "off":
        return None
    kept = find_kept_names(run.workspace, run.spec.lineage)
    if kept is None:
        return None
    other = differences(kept, _wanted(run))
    if other:
        logger.warning("the kept names model has another %s: names are not judged by it", " and ".join(other))
        return None
    return kept


@task(name="name by votes", cache_policy=NO_CACHE)
def vote_on_names(
    run: RunContext, world: Artifact | None, observations: Artifact, names: Artifact | None
) -> Artifact | None:
    """Fetch what people say the observations are, and make one name of it each; None where nobody is asked."""
    folders = fetch_identifications(run, world, observations)
    if not folders:
        return None
    rule = VoteRule()
    return run.step(
        "votes",
        "votes",
        partial(
            name_by_votes,
            identifications=folders,
            observations=run.store.fetch(observations),
            names=None if names is None else run.store.fetch(names),
            rule=rule,
        ),
        parameters={"rule": rule.parameters},
        inputs={
            "identifications": state_of_identifications(folders),
            "observations": observations.digest,
            **({} if names is None else {"names": names.digest}),
        },
    )


@task(name="train names", cache_policy=NO_CACHE)
def train_names_model(run: RunContext, shards: ShardSet, features: Artifact, votes: Artifact | None) -> KeptNamesModel:
    """Train a names model on the run's photos, and keep it for the runs that follow."""
    how, encoder = _how(run), run.photo_encoder.identity
    most = run.spec.profile.names.photos_per_species
    parts = [run.store.members(x) for x in (shards.shards, shards.live, features)]
    folders = [NamedShard(*(run.store.fetch(part[name]) for part in parts)) for name in parts[0]]
    model = run.step(
        "names model",
        "names-model",
        partial(
            train_names_on_shards,
            shards=folders,
            votes=None if votes is None else run.store.fetch(votes),
            how=how,
            photos_per_species=most,
            encoder_identity=encoder,
        ),
        parameters={"how": how.parameters, "photos_per_species": most, "encoder": encoder},
        inputs={
            "live": shards.live.digest,
            "features": features.digest,
            **({} if votes is None else {"votes": votes.digest}),
        },
        with_progress=True,
    )
    return _keep(run, model, str(run.spec.month))


@task(name="train names on images", cache_policy=NO_CACHE)
def train_names_model_on_images(
    run: RunContext, images: Path, layout: ImageLayout, taxa: Artifact | None
) -> KeptNamesModel:
    """Train a names model on a set of labelled images, and keep it for the runs that follow."""
    how, settings = _how(run), run.spec.profile.model
    most = run.spec.profile.names.photos_per_species
    model = run.step(
        "names model",
        "names-model",
        partial(
            train_names_on_images,
            images=images,
            layout=layout,
            encoder=settings.encoder,
            location=settings.encoder_location,
            growth_forms=None if taxa is None else run.store.fetch(taxa),
            how=how,
            photos_per_species=most,
            device=run.device,
        ),
        parameters={
            "how": how.parameters,
            "photos_per_species": most,
            "encoder": run.photo_encoder.identity,
            "layout": layout,
        },
        inputs={"images": state_of_images(images), **({} if taxa is None else {"taxa": taxa.digest})},
        with_progress=True,
    )
    return _keep(run, model, None)


@task(name="gate names", cache_policy=NO_CACHE)
def gate_names(
    run: RunContext, shards: ShardSet, features: Artifact, kept: KeptNamesModel, votes: Artifact | None
) -> AcceptedNames:
    """Decide on the name of every live observation, a shard at a time, and gather what was set aside."""
    settings = GateSettings.read(run.spec.profile.names.gate)
    of_features, live = run.store.members(features), run.store.members(shards.live)
    code, encoder = code_version(name_gate.__name__), run.photo_encoder.identity
    said = {} if votes is None else run.store.members(_cut(run, live, votes, code))
    judging = {
        name: ShardJob(
            step="name-gate",
            function=name_gate.gate_shard,
            code=code,
            inputs={
                "live": rows,
                "features": of_features[name],
                "model": kept.model,
                **({"votes": said[name]} if said else {}),
            },
            parameters={"gate": settings.parameters, "encoder_identity": encoder},
        )
        for name, rows in live.items()
    }
    gated = run.jobs("names gate", "gated-shards", judging)
    decided = run.store.members(gated)
    accepting = {
        name: ShardJob(
            step="named-shard",
            function=name_gate.accept_shard,
            code=code,
            inputs={"live": rows, "decisions": decided[name], "model": kept.model},
            parameters={},
        )
        for name, rows in live.items()
    }
    accepted = run.jobs("accepted names", "named-shards", accepting)
    told = {"gate": settings.parameters, "model": kept.told}
    decisions = run.step(
        DECISIONS,
        "name-decisions",
        partial(
            name_gate.gather_decisions,
            live={name: run.store.fetch(rows) for name, rows in live.items()},
            decided={name: run.store.fetch(rows) for name, rows in decided.items()},
            told=told,
        ),
        parameters={"told": told},
        inputs={"live": shards.live.digest, "decided": gated.digest},
    )
    point_at(run.workspace, "names", run.spec.name, decisions)
    made_of = {"names model": kept.model, "names gate": gated, "accepted names": accepted, DECISIONS: decisions}
    return AcceptedNames(accepted, made_of if votes is None else {"votes": votes, **made_of})


def state_of_images(folder: Path) -> str:
    """Return a hash of a set of images: names and sizes of all files, and what those hold that are no images."""
    digest = hashlib.sha256()
    for path in sorted(x for x in folder.rglob("*") if x.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        if path.suffix.lower() in _LABELS:
            with path.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _cut(run: RunContext, live: Mapping[str, Artifact], votes: Artifact, code: str) -> Artifact:
    """Cut the votes by shard."""
    jobs = {
        name: ShardJob(
            step="shard-votes",
            function=name_gate.cut_votes,
            code=code,
            inputs={"live": rows, "votes": votes},
            parameters={},
        )
        for name, rows in live.items()
    }
    return run.jobs("votes of shards", "votes-of-shards", jobs)


def _keep(run: RunContext, model: Artifact, month: str | None) -> KeptNamesModel:
    kept = KeptNamesModel(model, run.spec.name, month, _wanted(run))
    keep_names_model(run.workspace, run.spec.lineage, kept)
    point_at(run.workspace, "names-models", run.spec.name, model)
    return kept


def _how(run: RunContext) -> CrossFitting:
    settings = run.spec.profile.names
    how = CrossFitting()
    fitting = replace(how.fit.how, epochs=settings.epochs)
    return replace(how, folds=settings.folds, fit=replace(how.fit, how=fitting))


def _wanted(run: RunContext) -> dict[str, str]:
    """Return what a names model must have in common with a run."""
    return {"photo encoder": run.photo_encoder.identity}
