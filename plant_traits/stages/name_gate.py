"""Stages: the gate of names for one shard, and what it set aside in all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from plant_traits.errors import ModelError
from plant_traits.name_schemas import NAME_DECISION, VOTED_NAME, VOTES
from plant_traits.observations.shards import OBSERVATIONS_FILE
from plant_traits.schemas import SHARD_ROW, read_table, write_table
from plant_traits.stages.prediction import features_of
from plant_traits.steps import Summary
from plant_traits.taxa.gate.calibration import SPECIES
from plant_traits.taxa.gate.cross_fitted import EVIDENCE, CrossFittedNames, load_cross_fitted
from plant_traits.taxa.gate.named_rows import name_rows
from plant_traits.taxa.gate.rule import OF_VOTED, SET_ASIDE, decide_names
from plant_traits.taxa.gate.settings import GateSettings
from plant_traits.taxa.gate.voted import join_votes
from plant_traits.taxa.names import genus
from plant_traits.taxa.prediction_sets.hierarchy import RANKS

DECISIONS, ASIDE, ASIDE_TABLE, COUNTS, COUNTS_TABLE = (
    "decisions.parquet",
    "set_aside.parquet",
    "set_aside.csv",
    "names.json",
    "names.csv",
)
_WHY = ("rank", "reason")
_ABOUT = ["photo_id", "photo_url", "latitude", "longitude", "observed_on", "licence", "attribution", "dataset_key"]


@lru_cache(maxsize=1)
def _names(folder: Path) -> CrossFittedNames:
    torch.set_num_threads(1)  # one process per core; more threads would only compete
    return load_cross_fitted(folder)


def cut_votes(destination: Path, *, live: Path, votes: Path) -> Summary:
    """Take a shard's share of the votes, so that it is judged anew only where its own have changed.

    Args:
        destination: an empty folder; ``votes.parquet`` goes there.
        live: the shard's live view; the shard where all of it is live.
        votes: output of ``name_by_votes``.

    Returns:
        Count of observations with votes.

    Raises:
        TableError: a table is not what it should be.
    """
    ids = read_table(live / OBSERVATIONS_FILE, SHARD_ROW, ["observation_id"])["observation_id"].drop_duplicates()
    voted = pq.read_table(votes / VOTES, filters=pc.field("observation_id").isin(pa.array(ids, pa.string())))
    write_table(voted.to_pandas(), destination / VOTES, VOTED_NAME)
    return {"out": {"observations with votes": len(voted)}}


def accept_shard(destination: Path, *, live: Path, decisions: Path, model: Path) -> Summary:
    """Bring live rows under the names that were accepted; write ``observations.parquet``.

    The accepted rows are a live view like any other: rows that were set aside are not in it, the others bear the name
    that was accepted. Where a decision changes and no name does, they stay the same to the bit.

    Args:
        destination: an empty folder.
        live: the shard's live view; the shard where all of it is live.
        decisions: output of ``gate_shard``.
        model: the names model, for what it knows of species.

    Returns:
        Count of rows.

    Raises:
        TableError: a table is not what it should be, or a row has no decision.
    """
    rows = read_table(live / OBSERVATIONS_FILE, SHARD_ROW)
    decided = read_table(decisions / DECISIONS, NAME_DECISION)
    accepted = name_rows(rows, decided, _names(model).taxonomy)
    write_table(accepted, destination / OBSERVATIONS_FILE, SHARD_ROW)
    return {"out": {"rows under accepted names": len(accepted)}}


def gate_shard(
    destination: Path,
    *,
    live: Path,
    features: Path,
    model: Path,
    gate: Mapping[str, Any],
    encoder_identity: str,
    votes: Path | None = None,
) -> Summary:
    """Decide on the names of live rows; write ``decisions.parquet``.

    Args:
        destination: an empty folder.
        live: the shard's live view; the shard where all of it is live.
        features: output of ``encode_shard`` for the shard.
        model: output of ``train_names_on_shards`` or ``train_names_on_images``.
        gate: the thresholds, ``GateSettings.parameters``.
        encoder_identity: of the encoder that the run's features are made with.
        votes: output of ``cut_votes`` for the shard; None where there are no votes.

    Returns:
        Counts of observations in, accepted at each rank, and set aside by reason.

    Raises:
        ModelError: the names model reads the features of another encoder.
        TableError: a table is not what it should be.
    """
    names = _names(model)
    if names.encoder_identity != encoder_identity:
        raise ModelError(
            f"gate of names: expected a names model of the encoder {encoder_identity}, found one of "
            f"{names.encoder_identity}; run `plant-traits train-names`, or set --names-gate off"
        )
    settings = GateSettings.read(gate)
    rows = read_table(live / OBSERVATIONS_FILE, SHARD_ROW)
    voted = None if votes is None else read_table(votes / VOTES, VOTED_NAME)
    pictures = features_of(features, rows["photo_id"], encoder_identity)
    first = ~rows["observation_id"].duplicated().to_numpy()
    observations = join_votes(rows[first].reset_index(drop=True), voted)
    place = pd.Index(observations["observation_id"]).get_indexer(pd.Index(rows["observation_id"])).astype(np.int64)
    found = names.evidence(observations, observations[list(RANKS)], pictures, place)
    of_voted = _evidence_of_voted(names, observations, pictures, place)
    decisions = decide_names(observations.join(found).join(of_voted), settings)
    write_table(decisions, destination / DECISIONS, NAME_DECISION)
    aside = decisions["rank"] == SET_ASIDE
    return {
        "in": {"observations": len(decisions)},
        "out": {f"accepted at {rank.replace('_', ' ')}": n for rank, n in _counts(decisions["rank"][~aside])},
        "lost": {
            f"observation set aside: {why.replace('_', ' ')}": n for why, n in _counts(decisions["reason"][aside])
        },
        "model_id": names.model_id,
    }


def gather_decisions(
    destination: Path, *, live: Mapping[str, Path], decided: Mapping[str, Path], told: Mapping[str, Any]
) -> Summary:
    """Gather the gate's decisions of all shards: how many at which rank and why, and what was set aside, for experts.

    Writes ``decisions.parquet`` (all of them), ``set_aside.parquet`` and ``set_aside.csv`` (a row per photo or record
    that was set aside: where it can be seen, whose it is, what was stated, what is suggested and why), ``names.csv``
    (rank, reason, n observations, their photos, and how many were renamed: accepted at species under another name than
    the stated one) and ``names.json`` (the same counts, the thresholds and the model).

    Args:
        destination: an empty folder.
        live: the live views that the gate read, by shard.
        decided: outputs of ``gate_shard`` by shard.
        told: settings and model, as JSON, for ``names.json``.

    Returns:
        Counts of observations by rank and of those set aside by reason.
    """
    schema = pa.schema([*NAME_DECISION, *(SHARD_ROW.field(name) for name in _ABOUT)])
    parts = [_count_decisions(*(x.empty_table().to_pandas() for x in (NAME_DECISION, schema)))]
    with (
        pq.ParquetWriter(destination / DECISIONS, NAME_DECISION, compression="zstd") as every,
        pq.ParquetWriter(destination / ASIDE, schema, compression="zstd") as aside,
    ):
        for name, folder in decided.items():
            decisions = read_table(folder / DECISIONS, NAME_DECISION)
            every.write_table(pa.Table.from_pandas(decisions, schema=NAME_DECISION, preserve_index=False))
            rows = read_table(live[name] / OBSERVATIONS_FILE, SHARD_ROW, ["observation_id", *_ABOUT])
            joined = decisions.merge(rows, on="observation_id", how="left")
            parts.append(_count_decisions(decisions, joined))
            out = joined[joined["rank"] == SET_ASIDE]
            aside.write_table(pa.Table.from_pandas(out, schema=schema, preserve_index=False))
    as_text(pd.read_parquet(destination / ASIDE)).to_csv(destination / ASIDE_TABLE, index=False)
    table = pd.concat(parts).groupby(list(_WHY), as_index=False).sum()
    table.to_csv(destination / COUNTS_TABLE, index=False)
    content = {**told, "counts": table.to_dict("records"), "observations": int(table["n"].sum())}
    (destination / COUNTS).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    is_aside = table["rank"] == SET_ASIDE
    by_rank, why = table[~is_aside].groupby("rank")["n"].sum(), table[is_aside].set_index("reason")["n"]
    return {
        "in": {"observations": int(table["n"].sum())},
        "out": {f"accepted at {str(rank).replace('_', ' ')}": int(n) for rank, n in by_rank.items()},
        "set aside": {str(reason): int(n) for reason, n in why.items()},
        **told,
    }


def _evidence_of_voted(
    names: CrossFittedNames,
    observations: pd.DataFrame,
    features: np.ndarray[Any, np.dtype[np.float32]],
    place: np.ndarray[Any, np.dtype[np.int64]],
) -> pd.DataFrame:
    """Return what photos say of the voted names that are valid and not the stated ones; NaN for all others."""
    columns = [OF_VOTED + name for name in EVIDENCE[:3]]
    out = pd.DataFrame(np.nan, index=observations.index, columns=columns)
    asked = np.flatnonzero(observations["vote_valid"] & (observations["vote_name"] != observations["species"]))
    if not asked.size:
        return out
    taxa = names.taxonomy.drop_duplicates("species").set_index("species").reindex(observations["vote_name"].iloc[asked])
    stated = taxa.reset_index(names="species")[list(RANKS)]
    stated["genus"] = stated["genus"].fillna(genus(stated["species"]))
    number = np.full(len(observations), -1, dtype=np.int64)
    number[asked] = np.arange(len(asked))
    photos = np.flatnonzero(number[place] >= 0)
    found = names.evidence(observations.iloc[asked], stated, features[photos], number[place[photos]])
    out.iloc[asked] = found[list(EVIDENCE[:3])].to_numpy()
    return out


def _count_decisions(decisions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return n observations, photos and renamed observations of one shard by rank and reason."""
    told = decisions.assign(renamed=(decisions["rank"] == SPECIES) & (decisions["name"] != decisions["stated"]))
    counts = told.groupby(list(_WHY))["renamed"].agg(n="size", renamed="sum")
    photos = rows[rows["photo_id"].notna()].groupby(list(_WHY)).size()
    counts.insert(1, "photos", photos.reindex(counts.index, fill_value=0))
    return counts.reset_index()


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(str(name), int(n)) for name, n in values.value_counts().sort_index().items()]


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Mark text that a spreadsheet would take for a formula: it was written by strangers, and experts open the file."""
    out = table.copy()
    for name in table.select_dtypes(include=["object", "string"]).columns:
        formula = table[name].astype("string").str.match(r"[=+\-@\t\r]").fillna(False).to_numpy(dtype=bool)
        out.loc[formula, name] = "'" + table[name][formula].astype("string")
    return out
