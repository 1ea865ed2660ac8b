"""What turning votes into names costs: time, memory, and the ratio to a plain pandas implementation of the same rule.

A simulated crowd as large as Pl@ntNet's public data set is written to a temporary folder; each measurement runs in a
process of its own that reads the votes and does nothing else. Everything runs in one thread, so that the processor's
seconds are those that a free core needs; the clock's tell what else the machine did. Memory is the peak of that whole
process, the votes and their ids included. The pandas implementation is the rule as one would write it with group-bys on
columns of ids; it runs on a crowd of the given fraction, where the array implementation runs too, and both must give
the same names.

    python benchmarks/votes.py 6700000 820000 11000 0.1
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.schemas import OBSERVATION
from plant_traits.simulation.crowd import CrowdSettings, simulate_crowd
from plant_traits.sources.inaturalist.identification_source import IDENTIFICATIONS
from plant_traits.sources.inaturalist.observations import IDENTIFICATION
from plant_traits.stages.votes import name_by_votes
from plant_traits.taxa.votes.agreement import majority_names, two_thirds_names, worker_agreement_names
from plant_traits.taxa.votes.community_rule import community_names
from plant_traits.taxa.votes.plantnet_rule import plantnet_names
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_rule import VoteRule
from plant_traits.taxa.votes.vote_table import VoteTable
from plant_traits.taxa.votes.vote_weights import counted_species, vote_weight

Given = TypeVar("Given")
Result = TypeVar("Result")

ARRAYS = ("observation", "user", "taxon", "author")


def write_crowd(path: Path, observations: int, users: int, species: int) -> None:
    """Simulate a crowd and write its votes, shuffled, so that nothing is gained from their order."""
    votes = simulate_crowd(CrowdSettings(observations=observations, users=users, species=species), 0).votes
    order = np.random.default_rng(0).permutation(len(votes))
    np.savez(path, **{name: getattr(votes, name)[order] for name in ARRAYS})
    np.save(path.with_suffix(".npy"), np.array([observations, users, species]))


def read_votes(path: Path) -> VoteTable:
    """Read the votes of a crowd."""
    n_observations, n_users, n_species = np.load(path.with_suffix(".npy")).tolist()
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in ARRAYS}
    ids = (_ids("o", n_observations), _ids("u", n_users), _ids("Genus", n_species))
    return VoteTable.from_codes(*ids, *arrays.values())


def _ids(prefix: str, n: int) -> pd.Index:
    return pd.Index(pd.Series(np.arange(n)).astype("str").str.zfill(8).radd(prefix), dtype="str")


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds of the processor and of the clock, and what is to be said of it."""

    processor: float
    clock: float
    said: str


def of_table(path: Path) -> Cost:
    """Read the votes only."""
    votes, processor, clock = timed(read_votes, path)
    return Cost(processor, clock, f"{len(votes):,} votes, {len(votes.users):,} users, {len(votes.taxa):,} names")


def of_plantnet(path: Path) -> Cost:
    """Run the Pl@ntNet rule."""
    found, processor, clock = timed(plantnet_names, read_votes(path))
    end = "converged" if found.converged else f"cycle {found.cycle}"
    return Cost(processor, clock, f"{found.rounds} rounds, {end}, {found.decisions['valid'].mean():.3f} valid")


def of_gate(path: Path) -> Cost:
    """Run the Pl@ntNet rule as the gate of names does, with a history to overrule."""
    found, processor, clock = timed(VoteRule().names, read_votes(path))
    return Cost(processor, clock, f"{found['valid'].mean():.3f} valid")


def write_tables(path: Path) -> None:
    """Write a crowd as a run has it: a mirror's identifications and a table of observations."""
    votes = read_votes(path)
    ids = "gbif:50c9509d-22c7-4a22-a47d-8c48425ef4a7:https://www.inaturalist.org/observations/" + pd.Series(
        np.arange(len(votes.observations)) + 100_000_000
    ).astype("str")
    rows = {
        "occurrence_id": pa.DictionaryArray.from_arrays(pa.array(votes.observation), pa.array(ids)),
        "user_id": pa.DictionaryArray.from_arrays(pa.array(votes.user), pa.array(votes.users)),
        "taxon_name": pa.DictionaryArray.from_arrays(pa.array(votes.taxon), pa.array("Genus " + _epithets(votes))),
        "rank": pa.repeat("species", len(votes)).dictionary_encode(),
        "identification_id": pa.array(np.arange(len(votes))),
        "observation_id": pa.array(votes.observation.astype(np.int64)),
        "taxon_id": pa.array(votes.taxon.astype(np.int64)),
        "current": pa.repeat(pa.scalar(value=True), len(votes)),
        "own_observation": pa.array(votes.author),
        "disagreement": pa.repeat(pa.scalar(value=False), len(votes)),
    }
    nothing = {field.name: pa.nulls(len(votes), field.type) for field in IDENTIFICATION if field.name not in rows}
    table = pa.table(rows | nothing).select(IDENTIFICATION.names).cast(IDENTIFICATION)
    for name in ("mirror", "observations"):
        path.with_name(name).mkdir()
    pq.write_table(table, path.with_name("mirror") / IDENTIFICATIONS, compression="zstd")
    columns = {field.name: pa.nulls(len(ids), field.type) for field in OBSERVATION}
    stated = pa.array("Genus " + _epithets(votes)).take(pa.array(votes.taxon[_first(votes)]))
    columns |= {"observation_id": pa.array(ids), "species": stated}
    pq.write_table(pa.table(columns, schema=OBSERVATION), path.with_name("observations") / "observations.parquet")


def _epithets(votes: VoteTable) -> pd.Series:
    letters = np.array(list("abcdefghij"))
    digits = np.arange(len(votes.taxa))[:, None] // 10 ** np.arange(6) % 10
    return pd.Series(["epi" + "".join(row) for row in letters[digits]], dtype="str")


def _first(votes: VoteTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.searchsorted(votes.observation, np.arange(len(votes.observations)))


def of_stage(path: Path) -> Cost:
    """Run the stage: read what was fetched, name, compare with what is stated, write."""
    with tempfile.TemporaryDirectory() as out:
        stage = partial(
            name_by_votes, identifications=[path.with_name("mirror")], observations=path.with_name("observations")
        )
        summary, processor, clock = timed(stage, Path(out))
    valid = summary["out"]["valid"] / summary["out"]["observations with votes"]
    return Cost(processor, clock, f"{summary['in']['identifications']:,} identifications, {valid:.3f} valid")


def of_rule(rule: Callable[[VoteTable], pd.DataFrame], path: Path) -> Cost:
    """Run a rule of one pass."""
    found, processor, clock = timed(rule, read_votes(path))
    return Cost(processor, clock, f"{found['valid'].mean():.3f} valid")


def community(votes: VoteTable) -> pd.DataFrame:
    """Run iNaturalist's rule on a tree of species, genera and a root."""
    species = pd.Series(votes.taxa)
    genus = "g" + pd.Series(np.arange(len(species)) // 4).astype("str")
    of_species = pd.DataFrame({"taxon": species, "parent": genus, "rank": "species"})
    of_genus = pd.DataFrame({"taxon": genus.unique(), "parent": "root", "rank": "genus"})
    root = pd.DataFrame({"taxon": ["root"], "parent": [None], "rank": ["kingdom"]})
    return community_names(votes, Taxonomy.of(pd.concat([of_species, of_genus, root], ignore_index=True)))


def of_pandas(path: Path) -> Cost:
    """Run the rule by group-bys on columns of ids, and compare its names with those of the arrays."""
    votes = read_votes(path)
    frame = pd.DataFrame(
        {
            "observation": votes.observations[votes.observation],
            "user": votes.users[votes.user],
            "taxon": votes.taxa[votes.taxon],
            "author": votes.author,
        }
    )
    names, processor, clock = timed(_pandas_rule, frame)
    ours = plantnet_names(votes).decisions.set_index("observation_id")
    same = (names["taxon"] == ours["name"].reindex(names.index)).mean()
    valid = (names["valid"] == ours["valid"].reindex(names.index)).mean()
    return Cost(processor, clock, f"same names {same:.6f}, same validity {valid:.6f}")


def _pandas_rule(frame: pd.DataFrame) -> pd.DataFrame:
    weight = pd.Series(vote_weight(np.zeros(1, dtype=np.int64))[0], index=frame["user"].unique())
    names: pd.DataFrame | None = None
    for _ in range(51):
        support = frame.assign(weight=frame["user"].map(weight)).groupby(["observation", "taxon"])["weight"].sum()
        ranked = support.reset_index()
        ranked["total"] = ranked.groupby("observation")["weight"].transform("sum")
        ranked["incumbent"] = False
        if names is not None:
            ranked["incumbent"] = ranked["taxon"] == ranked["observation"].map(names["taxon"])
        ranked["rounded"] = ranked["weight"].round(9)
        ranked = ranked.sort_values(
            ["observation", "rounded", "incumbent", "taxon"], ascending=[True, False, False, True]
        )
        now = ranked.drop_duplicates("observation").set_index("observation")
        now["valid"] = (now["weight"] >= 2) & (now["weight"] >= 0.7 * now["total"] - 1e-9)
        if names is not None and now["taxon"].equals(names["taxon"]) and now["valid"].equals(names["valid"]):
            return now
        names = now
        agreed = frame[frame["taxon"] == frame["observation"].map(now["taxon"])]
        own = agreed[agreed["author"] & agreed["observation"].map(now["valid"])][["user", "taxon"]].drop_duplicates()
        others = agreed[~agreed["author"]][["user", "taxon"]].drop_duplicates()
        further = others.merge(own, how="left", indicator=True).query("_merge == 'left_only'")
        of_author = own.groupby("user").size().reindex(weight.index, fill_value=0)
        of_voter = further.groupby("user").size().reindex(weight.index, fill_value=0)
        counted = counted_species(np.asarray(of_author, dtype=np.int64), np.asarray(of_voter, dtype=np.int64))
        weight = pd.Series(vote_weight(counted), index=weight.index)
    return now


def timed(call: Callable[[Given], Result], given: Given) -> tuple[Result, float, float]:
    """Call a function; return its result, and the seconds of the processor and of the clock."""
    busy, started = time.process_time(), time.perf_counter()
    result = call(given)
    return result, time.process_time() - busy, time.perf_counter() - started


def apart(task: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    """Run a task in a process of its own; return its result and its peak memory in GB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_report, args=(queue, task, arguments))
    process.start()
    found: tuple[Result, float] = queue.get()
    process.join()
    return found


def _report(queue: multiprocessing.Queue[object], task: Callable[..., object], arguments: tuple[object, ...]) -> None:
    result = task(*arguments)
    queue.put((result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def row(name: str, task: Callable[..., Cost], *arguments: object) -> Cost:
    """Run a task in a process of its own and print its row."""
    cost, memory = apart(task, *arguments)
    print(f"| {name} | {cost.processor:.2f} | {cost.clock:.2f} | {memory:.2f} | {cost.said} |", flush=True)
    return cost


def main(observations: int, users: int, species: int, fraction: float) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole.npz", Path(folder) / "part.npz"
        apart(write_crowd, whole, observations, users, species)
        apart(write_crowd, part, *(int(fraction * n) for n in (observations, users, species)))
        print("| step | processor, s | clock, s | peak memory, GB | |\n|---|---:|---:|---:|---|")
        row("code and sort the votes", of_table, whole)
        row("Pl@ntNet rule", of_plantnet, whole)
        row("the same with a history to overrule", of_gate, whole)
        row("majority", of_rule, majority_names, whole)
        row("two thirds", of_rule, two_thirds_names, whole)
        row("worker agreement", of_rule, worker_agreement_names, whole)
        row("iNaturalist's rule", of_rule, community, whole)
        apart(write_tables, whole)
        row("the stage, from fetched tables to names", of_stage, whole)
        ours = row(f"Pl@ntNet rule, {fraction} of the size", of_plantnet, part)
        plain = row("the same with pandas", of_pandas, part)
        ratio = plain.processor / ours.processor
        print(f"\nThe pandas implementation takes {ratio:.1f} times as long at {fraction} of the size.")


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:4]] or [6_700_000, 820_000, 11_000]
    main(given[0], given[1], given[2], float(sys.argv[4]) if len(sys.argv) > 4 else 0.1)
