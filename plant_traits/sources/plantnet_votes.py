"""Pl@ntNet's public votes: the data set Pl@ntNet-CrowdSWE on Zenodo, in its first and its second layout.

First layout (record 10782465, 6.7 million observations by 823,251 users)::

    answers/answers.json            {"<task>": {"<user>": <label>}}
    answers/ground_truth.txt        one line per task: the experts' label, -1 where they gave none
    converters/tasks.json           {"<observation id>": <task>}
    converters/classes.json         {"<name with authors>": <label>}
    aggregation/authors.txt         one line per task: the user who made the observation
    aggregation/ai_classes.json     {"<name with authors>": <label of the model>}
    aggregation/ai_answers.json     {"<task>": <label of the model>}
    aggregation/ai_scores.json      {"<task>": <probability>}

The labels of the users and of the model are numbered apart. Second layout (record 17913995, without observations of
several images)::

    votes/human_votes.json          {"<observation id>": {"<user>": "<label>"}}
    votes/ground_truth.json         {"<observation id>": <label or -1>}
    votes/ai_votes.json             {"<observation id>": <label>}
    converters/unified_classes.json {"<name with authors>": "<label>"}
    converters/authors.json         {"<observation id>": "<user>"}
    ai_scores/ai_scores.json        {"<observation id>": <probability>}

The first layout was compared with the first lines of each of its files. Of the second, the description on Zenodo and
the file of classes were at hand; that ``authors.json`` and ``ai_scores.json`` map ids to one value each, and that a
list in ``ground_truth.json`` holds several experts' labels, is taken from their names and from a public program that
reads them. Anything else stops with an error that says what was found. ``aggregation/k-southwestern-europe.json`` (the
flora's names and synonyms) is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from plant_traits.errors import InputError, MissingInputError, TableError
from plant_traits.sources.plantnet_files import (
    Answers,
    Classes,
    read_answers,
    read_classes,
    read_expert_labels,
    read_lines,
    read_numbers,
)
from plant_traits.taxa.votes.vote_table import AiVotes, VoteTable


@dataclass(frozen=True)
class PlantnetVotes:
    """The votes of a release.

    Attributes:
        votes: users' votes, with the model's where the release has them.
        truth: columns ``observation_id`` and ``taxon``: what the experts say, of the observations that they looked at.
    """

    votes: VoteTable
    truth: pd.DataFrame


def read_plantnet_votes(folder: Path) -> PlantnetVotes:
    """Read a release that was unpacked into a folder; the layout is recognised by its files.

    Files of votes are read block by block and kept as whole numbers: memory grows with the votes, about 300 bytes each
    at its peak, not with the text of the files. Names are as the release writes them, with their authors. The model's
    votes are left out where its files are not there.

    Raises:
        MissingInputError: a file that the layout needs is not there.
        InputError: a file is damaged, or its content is not what the layout says.
    """
    if (folder / "answers" / "answers.json").exists():
        return _first_layout(folder)
    if (folder / "votes" / "human_votes.json").exists():
        return _second_layout(folder)
    raise MissingInputError(
        f"{folder}: neither answers/answers.json nor votes/human_votes.json is there; unpack a release of "
        "Pl@ntNet-CrowdSWE into this folder"
    )


def _first_layout(folder: Path) -> PlantnetVotes:
    answers = read_answers(folder / "answers" / "answers.json")
    names = read_classes(folder / "converters" / "classes.json")
    ids, tasks = read_numbers(folder / "converters" / "tasks.json")
    authors = read_lines(folder / "aggregation" / "authors.txt")
    experts = read_lines(folder / "answers" / "ground_truth.txt")
    if not len(authors) == len(experts) == len(ids):
        raise InputError(
            f"{folder}: authors.txt has {len(authors)} lines, ground_truth.txt {len(experts)}, tasks.json {len(ids)} "
            "tasks; they must be as many: fetch the release again"
        )
    if not np.array_equal(np.sort(tasks), np.arange(len(tasks))):
        raise InputError(f"{folder}: tasks.json must number its tasks from 0 to {len(tasks) - 1}; fetch it again")
    id_of_task = np.empty(len(ids), dtype=np.int64)
    id_of_task[tasks] = ids
    _within(answers.key, len(ids), "answers.json: a task")
    author = authors[answers.key] == answers.inner
    model = None
    if (folder / "aggregation" / "ai_answers.json").exists():
        said, label = read_numbers(folder / "aggregation" / "ai_answers.json")
        of_model = read_classes(folder / "aggregation" / "ai_classes.json")
        _within(said, len(ids), "ai_answers.json: a task")
        scored, score = read_numbers(folder / "aggregation" / "ai_scores.json", pa.float64())
        _within(scored, len(ids), "ai_scores.json: a task")
        place = of_model.place(label, "ai_answers.json")
        model = _Model(of_model, id_of_task[said], place, id_of_task[scored], score)
    votes = _table(Answers(id_of_task[answers.key], answers.inner, answers.value), author, names, model)
    expert = np.flatnonzero(experts >= 0)
    return PlantnetVotes(votes, _truth(id_of_task[expert], names, experts[expert]))


def _second_layout(folder: Path) -> PlantnetVotes:
    answers = read_answers(folder / "votes" / "human_votes.json")
    names = read_classes(folder / "converters" / "unified_classes.json")
    ids, users = read_numbers(folder / "converters" / "authors.json")
    by_id = pd.Series(users, index=ids)
    if by_id.index.has_duplicates:
        raise InputError(f"{folder}: authors.json names an observation twice; fetch it again")
    author = by_id.reindex(answers.key).to_numpy() == answers.inner
    model = None
    if (folder / "votes" / "ai_votes.json").exists():
        said, label = read_numbers(folder / "votes" / "ai_votes.json")
        scored, score = np.empty(0, dtype=np.int64), np.empty(0)
        if (folder / "ai_scores" / "ai_scores.json").exists():
            scored, score = read_numbers(folder / "ai_scores" / "ai_scores.json", pa.float64())
        model = _Model(names, said, names.place(label, "ai_votes.json"), scored, score)
    votes = _table(answers, author, names, model)
    experts, label = read_expert_labels(folder / "votes" / "ground_truth.json")
    known = label >= 0
    return PlantnetVotes(votes, _truth(experts[known], names, label[known]))


@dataclass(frozen=True)
class _Model:
    """The model's names, as places among its classes, and its probabilities, each by observation id."""

    classes: Classes
    said: NDArray[np.int64]
    place: NDArray[np.int64]
    scored: NDArray[np.int64]
    score: NDArray[np.float64]


def _table(answers: Answers, author: NDArray[np.bool_], names: Classes, model: _Model | None) -> VoteTable:
    observation, ids = pd.factorize(answers.key)
    user, users = pd.factorize(answers.inner)
    place_of_vote = names.place(answers.value, "votes")
    taxa = names.names.take(pd.unique(place_of_vote))
    if model is not None:
        taxa = taxa.union(model.classes.names.take(pd.unique(model.place)), sort=False)
    taxa = taxa.sort_values()
    ai, losses = None, {}
    if model is not None:
        place = pd.Index(ids).get_indexer(pd.Index(model.said))
        taxon, score = np.full(len(ids), -1, dtype=np.int32), np.full(len(ids), np.nan)
        taxon[place[place >= 0]] = model.classes.codes(taxa)[model.place[place >= 0]]
        at = pd.Index(ids).get_indexer(pd.Index(model.scored))
        score[at[at >= 0]] = model.score[at >= 0]
        ai, losses = AiVotes(taxon, score), {"ai_without_votes": int((place < 0).sum())}
    try:
        return VoteTable.from_codes(
            _texts(ids),
            _texts(users),
            taxa,
            observation.astype(np.int32),
            user.astype(np.int32),
            names.codes(taxa)[place_of_vote],
            author,
            ai=ai,
            losses=losses,
        )
    except TableError as error:
        raise InputError(f"Pl@ntNet votes: {error}") from error


def _truth(ids: NDArray[np.int64], names: Classes, label: NDArray[np.int64]) -> pd.DataFrame:
    taxon = names.names.take(names.place(label, "ground truth"))
    return pd.DataFrame({"observation_id": _texts(ids), "taxon": taxon})


def _texts(numbers: NDArray[np.int64]) -> pd.Index[str]:
    texts: pd.Index[str] = pd.Index(pa.array(numbers).cast(pa.string()).to_pandas(), dtype="str")
    return texts


def _within(place: NDArray[np.int64], n: int, what: str) -> None:
    if len(place) and not 0 <= int(place.min()) <= int(place.max()) < n:
        raise InputError(
            f"{what} lies outside 0 to {n - 1}, the tasks that tasks.json numbers; fetch the release again"
        )
