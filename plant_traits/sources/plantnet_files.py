"""The files of Pl@ntNet's public votes, read as columns of whole numbers; ``plantnet_votes`` says which there are."""

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

from plant_traits.errors import InputError, MissingInputError
from plant_traits.sources.json_objects import object_entries, read_json_object

_CLASSES_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Answers:
    """Who named what.

    Attributes:
        key: task or observation of each vote.
        inner: its user.
        value: its label.
    """

    key: NDArray[np.int64]
    inner: NDArray[np.int64]
    value: NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Names by label, some labels unused."""

    label: NDArray[np.int64]
    names: pd.Index[str]

    def place(self, labels: NDArray[np.int64], where: str) -> NDArray[np.int64]:
        """Return the places of labels among the names.

        Args:
            labels: what a file of votes holds.
            where: that file, for messages.

        Raises:
            InputError: there is no class of that label.
        """
        place = pd.Index(self.label).get_indexer(pd.Index(labels))
        if (place < 0).any():
            raise InputError(f"{where}: label {labels[place < 0][0]} is not among the classes; fetch the release again")
        return place.astype(np.int64)

    def codes(self, taxa: pd.Index[str]) -> NDArray[np.int32]:
        """Return the code of each name among taxa."""
        return taxa.get_indexer(self.names).astype(np.int32)


def read_classes(path: Path) -> Classes:
    """Read an object of one label per name.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is damaged, or a label stands for two names.
    """
    content = read_json_object(path, _CLASSES_BYTES)
    label = _numbers(path, list(content.values()))
    if len(np.unique(label)) != len(label):
        raise InputError(f"{path.name}: a label stands for two names; fetch the file again")
    return Classes(label, pd.Index(list(content), dtype="str"))


def read_answers(path: Path) -> Answers:
    """Read an object of objects of labels.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is damaged, holds something else or no vote.
    """
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
    return Answers(np.concatenate(keys), np.concatenate(inner), np.concatenate(values))


def read_numbers(path: Path, kind: pa.DataType | None = None) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Read an object of one number per entry.

    Args:
        path: the file.
        kind: type of the numbers; whole ones by default.

    Returns:
        Keys and numbers.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is damaged or holds something else.
    """
    wanted = pa.int64() if kind is None else kind
    keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=wanted.to_pandas_dtype())]
    for outer, value in _columns(path):
        keys.append(_numbers(path, outer))
        values.append(_numbers(path, value, wanted))
    return np.concatenate(keys), np.concatenate(values)


def read_expert_labels(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read experts' labels; of several on an observation, the one that all gave, else none.

    Returns:
        Observations and labels, -1 for none.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is damaged or holds something else.
    """
    content = read_json_object(path, 16 * _CLASSES_BYTES)
    several = {key: value for key, value in content.items() if isinstance(value, list)}
    agreed = {key: value[0] if value and len(set(map(str, value))) == 1 else -1 for key, value in several.items()}
    content |= agreed
    return _numbers(path, list(content)), _numbers(path, list(content.values()))


def read_lines(path: Path) -> NDArray[np.int64]:
    """Read a whole number per line.

    Raises:
        MissingInputError: the file is not there.
        InputError: a line holds something else.
    """
    try:
        column = pd.read_csv(path, header=None, names=["value"], usecols=[0], dtype="int64", skip_blank_lines=False)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} is not there; complete the release") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: expected one whole number per line: {error}; fetch the file again") from error
    return column["value"].to_numpy(dtype=np.int64)


def _two_columns(path: Path, pairs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Split pairs of user and label."""
    try:
        users, labels = zip(*pairs, strict=True) if pairs else ((), ())
    except (TypeError, ValueError) as error:
        raise InputError(f"{path.name}: expected users and labels in every entry; fetch the file again") from error
    return list(users), list(labels)


def _columns(path: Path) -> Iterator[tuple[list[str], list[Any]]]:
    for entries in object_entries(path, nested=False):
        outer, value = zip(*entries, strict=True)
        yield list(outer), list(value)


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
