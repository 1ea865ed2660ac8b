"""Stage: what a crowd of people says of a run's observations, one name each by a rule over all votes together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plant_traits.errors import TableError
from plant_traits.name_schemas import VOTED_NAME, VOTES
from plant_traits.schemas import OBSERVATION, read_table, write_table
from plant_traits.sources.inaturalist.identification_source import IDENTIFICATIONS, TAXA
from plant_traits.sources.inaturalist.observations import IDENTIFICATION
from plant_traits.stages.names import NAMES
from plant_traits.steps import Summary
from plant_traits.taxa.accepted_names import species_of
from plant_traits.taxa.votes.identification_votes import SPECIES_OR_FINER, identification_votes
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_rule import VoteRule

_TEXTS = ("occurrence_id", "user_id", "taxon_name", "rank")
_READ = ("occurrence_id", "identification_id", "user_id", "rank", "current", "own_observation")
_READ_BY_ID = ("taxon_id", "previous_taxon_id")
_AI = ["observation_id", "taxon", "score"]
_DEFAULT = VoteRule()


def name_by_votes(
    destination: Path,
    *,
    identifications: Sequence[Path],
    observations: Path,
    rule: VoteRule = _DEFAULT,
    names: Path | None = None,
    ai: Path | None = None,
) -> Summary:
    """Write ``votes.parquet`` (``VOTED_NAME``): of each observation that has votes, what they say; by observation id.

    All votes of all observations are weighed together, since a user's weight follows from what he was right about
    anywhere. Votes count under accepted names where the observations bear them.

    Args:
        destination: an empty folder.
        identifications: folders of the mirror that hold ``identifications.parquet`` and ``taxa.parquet``.
        observations: output of ``build_observations``.
        rule: how votes become a name.
        names: output of ``keep_answers``; None leaves names as the crowd gave them.
        ai: table of a model's votes (observation_id, taxon, score), for rules in which they count.

    Returns:
        Counts. ``confirmed`` are valid names that are the stated ones, ``contradicted`` valid ones that are others,
        ``doubted`` those of no valid name where another than the stated one has most weight.

    Raises:
        TableError: a table cannot be read.
    """
    stated = _stated(observations / "observations.parquet")
    answers = None if names is None else pd.read_parquet(names / NAMES)
    files = [folder / IDENTIFICATIONS for folder in identifications]
    table = _identifications(files, stated["observation_id"], by_id=rule.needs_taxonomy)
    pa.default_memory_pool().release_unused()  # long ids are gone, their memory is not
    model = None if ai is None else _placed(pd.read_parquet(ai, columns=_AI), stated["observation_id"])
    if rule.needs_taxonomy:
        votes, left_out = identification_votes(table, "all")
        tree, taxa = _taxonomy([folder / TAXA for folder in identifications])
        found = _by_species(rule.names(votes, tree), taxa, answers)
    else:
        votes, left_out = identification_votes(table, "species", answers, model)
        found = rule.names(votes)
    found["place"] = found["observation_id"].astype("int64")
    of_run = found["place"] < len(stated)
    kept = found[of_run].sort_values("place", ignore_index=True)
    own = stated.take(kept["place"].to_numpy())
    kept["observation_id"] = own["observation_id"].to_pandas()
    write_table(kept, destination / VOTES, VOTED_NAME)
    return {
        "in": {"identifications": len(table), "observations": len(stated)},
        "out": _counts(kept, own["species"].to_pandas(), len(stated)),
        "votes": {"votes": len(votes), "voters": len(votes.users), "names": len(votes.taxa)},
        "lost": {
            **{f"identifications {reason.replace('_', ' ')}": n for reason, n in left_out.items() if n},
            **{f"votes {reason.replace('_', ' ')}": n for reason, n in votes.losses.items() if n},
            **({"names of observations that the run does not have": int((~of_run).sum())} if (~of_run).any() else {}),
        },
    }


def state_of_identifications(folders: Sequence[Path]) -> str:
    """Return a hash of the fetched identifications in these folders of the mirror.

    Raises:
        OSError: a file is not there.
    """
    state = hashlib.sha256()
    for folder in folders:
        for name in (IDENTIFICATIONS, TAXA):
            with (folder / name).open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()


def _counts(named: pd.DataFrame, stated: pd.Series, observations: int) -> dict[str, int]:
    other = named["name"].notna() & ~named["name"].eq(stated)
    valid = named["valid"].astype(bool)
    return {
        "observations with votes": len(named),
        "valid": int(valid.sum()),
        "confirmed": int((valid & ~other).sum()),
        "contradicted": int((valid & other).sum()),
        "doubted": int((~valid & other).sum()),
        "with one vote": int((named["n_votes"] == 1).sum()),
        "without votes": observations - len(named),
    }


def _stated(path: Path) -> pa.Table:
    """Read the distinct observations in order of their ids: ``observation_id`` and ``species``.

    Millions of long ids stay in Arrow, which needs no object for each.
    """
    table = pa.Table.from_pandas(
        read_table(path, OBSERVATION, ["observation_id", "species"]), preserve_index=False
    ).combine_chunks()
    ids = table["observation_id"]
    if not pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py():
        table = table.take(pc.sort_indices(ids)).combine_chunks()
        ids = table["observation_id"]
    first = np.ones(len(table), dtype=bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy()
    return table.filter(pa.array(first)).combine_chunks()


def _identifications(paths: Sequence[Path], ids: pa.ChunkedArray, *, by_id: bool) -> pd.DataFrame:
    """Read the tables; texts that repeat are categories. With ``by_id`` taxa are named by their ids.

    ``occurrence_id`` becomes the text of its place among the observations' ids, and a number past them where it is none
    of them: short, and as good to group by.
    """
    columns = [*_READ, *((*_READ_BY_ID, "disagreement") if by_id else ("taxon_name",))]
    tables = []
    for path in paths:
        try:
            tables.append(pq.read_table(path, columns=columns, read_dictionary=[x for x in _TEXTS if x in columns]))
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(
                f"{path}: expected a table of identifications with the columns {columns} ({error}); fetch them anew"
            ) from error
    if not tables:
        none: pd.DataFrame = IDENTIFICATION.empty_table().to_pandas()
        return none
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    occurrence = table["occurrence_id"]
    codes = np.concatenate([np.empty(0, np.int32), *(x.indices.to_numpy() for x in occurrence.chunks)])
    named = occurrence.chunk(0).dictionary if len(table) else pa.array([], ids.type)
    place = pd.Categorical.from_codes(codes, _places(named, ids))
    frame: pd.DataFrame = table.drop_columns(["occurrence_id"]).to_pandas()
    frame["occurrence_id"] = place
    for name in ("taxon", "previous_taxon") if by_id else ():
        frame[f"{name}_name"] = frame[f"{name}_id"].astype("Int64").astype("str").where(frame[f"{name}_id"].notna())
    return frame


def _placed(ai: pd.DataFrame, ids: pa.ChunkedArray) -> pd.DataFrame:
    return ai.assign(observation_id=_places(pa.array(ai["observation_id"], pa.string()), ids))


def _places(named: pa.Array, ids: pa.ChunkedArray) -> pd.Index[str]:
    """Return the places of distinct texts among the ids, and after them of those that are none, as text."""
    found = pc.index_in(named.cast(ids.type), value_set=ids)
    own = pa.array(len(ids) + np.arange(len(named)), pa.int32())
    places: pd.Index[str] = pd.Index(pc.coalesce(found, own).cast(pa.string()).to_pandas(), dtype="str")
    return places


def _taxonomy(paths: Sequence[Path]) -> tuple[Taxonomy, pd.DataFrame]:
    """Return the tree of taxa by their ids as text, and the taxa by these ids; a gap in a lineage is passed over."""
    taxa = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True).drop_duplicates("taxon_id")
    taxa = taxa.set_index(pd.Index(taxa["taxon_id"].astype("str"), name="taxon")).drop(columns="taxon_id")
    above = taxa["ancestry"].dropna().astype("str").str.split("/").explode()
    parent = above[above.isin(taxa.index)].groupby(level=0).last()
    rows = pd.DataFrame({"taxon": taxa.index, "parent": parent.reindex(taxa.index).to_numpy()})
    return Taxonomy.of(rows.assign(rank=taxa["rank"].to_numpy())), taxa


def _by_species(found: pd.DataFrame, taxa: pd.DataFrame, answers: pd.DataFrame | None) -> pd.DataFrame:
    """Replace ids of taxa by names: those of species and finer by the species' accepted name, others as they stand."""
    code, ids = pd.factorize(found["name"])
    name = taxa["name"].reindex(ids).astype("str").reset_index(drop=True)
    fine = taxa["rank"].reindex(ids).isin(SPECIES_OR_FINER).to_numpy()
    chosen = name.where(~fine, species_of(name, answers))
    return found.assign(name=chosen.reindex(code).set_axis(found.index))  # no row has the code -1
