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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from plant_traits.errors import InputError, MissingInputError, TableError
from plant_traits.sources.json_objects import object_entries, read_json_object
from plant_traits.taxa.votes.vote_table import AiVotes, VoteTable

_CLASSES_BYTES = 64 * 2**20


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


@dataclass(frozen=True)
class _Read:
    """Columns of whole numbers: keys, inner keys and values of a file."""

    key: NDArray[np.int64]
    inner: NDArray[np.int64]
    value: NDArray[np.int64]


def _first_layout(folder: Path) -> PlantnetVotes:
    answers = _nested(folder / "answers" / "answers.json")
    names = _classes(folder / "converters" / "classes.json")
    ids, tasks = _flat(folder / "converters" / "tasks.json")
    authors = _lines(folder / "aggregation" / "authors.txt")
    experts = _lines(folder / "answers" / "ground_truth.txt")
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
        said, label = _flat(folder / "aggregation" / "ai_answers.json")
        of_model = _classes(folder / "aggregation" / "ai_classes.json")
        _within(said, len(ids), "ai_answers.json: a task")
        scored, score = _flat(folder / "aggregation" / "ai_scores.json", pa.float64())
        _within(scored, len(ids), "ai_scores.json: a task")
        place = of_model.place(label, "ai_answers.json")
        model = _Model(of_model, id_of_task[said], place, id_of_task[scored], score)
    votes = _table(_Read(id_of_task[answers.key], answers.inner, answers.value), author, names, model)
    expert = np.flatnonzero(experts >= 0)
    return PlantnetVotes(votes, _truth(id_of_task[expert], names, experts[expert]))


def _second_layout(folder: Path) -> PlantnetVotes:
    answers = _nested(folder / "votes" / "human_votes.json")
    names = _classes(folder / "converters" / "unified_classes.json")
    ids, users = _flat(folder / "converters" / "authors.json")
    by_id = pd.Series(users, index=ids)
    if by_id.index.has_duplicates:
        raise InputError(f"{folder}: authors.json names an observation twice; fetch it again")
    author = by_id.reindex(answers.key).to_numpy() == answers.inner
    model = None
    if (folder / "votes" / "ai_votes.json").exists():
        said, label = _flat(folder / "votes" / "ai_votes.json")
        scored, score = np.empty(0, dtype=np.int64), np.empty(0)
        if (folder / "ai_scores" / "ai_scores.json").exists():
            scored, score = _flat(folder / "ai_scores" / "ai_scores.json", pa.float64())
        model = _Model(names, said, names.place(label, "ai_votes.json"), scored, score)
    votes = _table(answers, author, names, model)
    experts, label = _expert_labels(folder / "votes" / "ground_truth.json")
    known = label >= 0
    return PlantnetVotes(votes, _truth(experts[known], names, label[known]))


@dataclass(frozen=True)
class _Classes:
    """Names by label, some labels unused."""

    label: NDArray[np.int64]
    names: pd.Index[str]

    def place(self, labels: NDArray[np.int64], where: str) -> NDArray[np.int64]:
        """Return the places of labels among the names."""
        place = pd.Index(self.label).get_indexer(pd.Index(labels))
        if (place < 0).any():
            raise InputError(f"{where}: label {labels[place < 0][0]} is not among the classes; fetch the release again")
        return place.astype(np.int64)

    def codes(self, taxa: pd.Index[str]) -> NDArray[np.int32]:
        """Return the code of each name among taxa."""
        return taxa.get_indexer(self.names).astype(np.int32)


@dataclass(frozen=True)
class _Model:
    """The model's names, as places among its classes, and its probabilities, each by observation id."""

    classes: _Classes
    said: NDArray[np.int64]
    place: NDArray[np.int64]
    scored: NDArray[np.int64]
    score: NDArray[np.float64]


def _table(answers: _Read, author: NDArray[np.bool_], names: _Classes, model: _Model | None) -> VoteTable:
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


def _truth(ids: NDArray[np.int64], names: _Classes, label: NDArray[np.int64]) -> pd.DataFrame:
    taxon = names.names.take(names.place(label, "ground truth"))
    return pd.DataFrame({"observation_id": _texts(ids), "taxon": taxon})


def _texts(numbers: NDArray[np.int64]) -> pd.Index[str]:
    texts: pd.Index[str] = pd.Index(pa.array(numbers).cast(pa.string()).to_pandas(), dtype="str")
    return texts


def _classes(path: Path) -> _Classes:
    content = read_json_object(path, _CLASSES_BYTES)
    label = _numbers(path, list(content.values()))
    if len(np.unique(label)) != len(label):
        raise InputError(f"{path.name}: a label stands for two names; fetch the file again")
    return _Classes(label, pd.Index(list(content), dtype="str"))


def _nested(path: Path) -> _Read:
    """Read an object of objects of labels."""
    keys, inner, values = [], [], []
    for entries in object_entries(path, nested=True):
        outer, given = zip(*entries, strict=True)
        if set(map(type, given)) != {list}:
            raise InputError(f"{path.name}: expected every entry to hold users and labels; fetch the file again")
        lengths = np.fromiter(map(len, given), dtype=np.int64, count=len(given))
        users, labels = _two_columns(path, list(chain.from_iterable(given)))
        keys.append(np.repeat(_numbers(path, list(outer)), lengths))
        inner.append(_numbers(path, users))
        values.append(_numbers(path, labels))
    if not keys:
        raise InputError(f"{path.name}: holds no votes; fetch the file again")
    return _Read(np.concatenate(keys), np.concatenate(inner), np.concatenate(values))


def _two_columns(path: Path, pairs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Split pairs of user and label."""
    try:
        users, labels = zip(*pairs, strict=True) if pairs else ((), ())
    except (TypeError, ValueError) as error:
        raise InputError(f"{path.name}: expected users and labels in every entry; fetch the file again") from error
    return list(users), list(labels)


def _flat(path: Path, kind: pa.DataType | None = None) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Read an object of one number per entry."""
    wanted = pa.int64() if kind is None else kind
    keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=wanted.to_pandas_dtype())]
    for outer, value in _columns(path):
        keys.append(_numbers(path, outer))
        values.append(_numbers(path, value, wanted))
    return np.concatenate(keys), np.concatenate(values)


def _columns(path: Path) -> Iterator[tuple[list[str], list[Any]]]:
    for entries in object_entries(path, nested=False):
        outer, value = zip(*entries, strict=True)
        yield list(outer), list(value)


def _expert_labels(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read experts' labels; of several on an observation, the one that all gave, else none."""
    content = read_json_object(path, 16 * _CLASSES_BYTES)
    several = {key: value for key, value in content.items() if isinstance(value, list)}
    agreed = {key: value[0] if value and len(set(map(str, value))) == 1 else -1 for key, value in several.items()}
    content |= agreed
    return _numbers(path, list(content)), _numbers(path, list(content.values()))


def _numbers(path: Path, values: list[Any], kind: pa.DataType | None = None) -> NDArray[Any]:
    """Return numbers, or texts that are numbers, as an array."""
    try:
        array = pa.array(values)
        if pa.types.is_boolean(array.type):
            raise pa.ArrowInvalid("true or false where a number is expected")
        array = array.cast(pa.int64() if kind is None else kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InputError(f"{path.name}: expected whole numbers as ids and labels: {error}") from error
    if array.null_count:
        raise InputError(f"{path.name}: {array.null_count} entries have no value; fetch the file again")
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _lines(path: Path) -> NDArray[np.int64]:
    """Read a whole number per line."""
    try:
        column = pd.read_csv(path, header=None, names=["value"], usecols=[0], dtype="int64", skip_blank_lines=False)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} is not there; complete the release") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: expected one whole number per line: {error}; fetch the file again") from error
    return column["value"].to_numpy(dtype=np.int64)


def _within(place: NDArray[np.int64], n: int, what: str) -> None:
    if len(place) and not 0 <= int(place.min()) <= int(place.max()) < n:
        raise InputError(
            f"{what} lies outside 0 to {n - 1}, the tasks that tasks.json numbers; fetch the release again"
        )
