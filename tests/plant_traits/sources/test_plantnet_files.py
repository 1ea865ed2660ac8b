"""Each file of Pl@ntNet's votes, as columns of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from plant_traits.errors import InputError, MissingInputError
from plant_traits.sources.plantnet_files import (
    read_answers,
    read_classes,
    read_expert_labels,
    read_lines,
    read_numbers,
)


def file(folder: Path, text: str) -> Path:
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_votes_are_rows_of_observation_user_and_label(tmp_path: Path) -> None:
    found = read_answers(file(tmp_path, '{"7": {"1": "30", "2": "31"}, "8": {}, "9": {"1": "30"}}'))
    assert (found.key.tolist(), found.inner.tolist(), found.value.tolist()) == ([7, 7, 9], [1, 2, 1], [30, 31, 30])


def test_numbers_are_whole_unless_told_otherwise(tmp_path: Path) -> None:
    path = file(tmp_path, '{"3": "5", "1": "4"}')
    keys, values = read_numbers(path)
    assert (keys.tolist(), values.tolist(), values.dtype.kind) == ([3, 1], [5, 4], "i")
    _, scores = read_numbers(file(tmp_path, '{"3": 0.25}'), pa.float64())
    assert scores.tolist() == [0.25]


def test_classes_place_their_labels(tmp_path: Path) -> None:
    found = read_classes(file(tmp_path, '{"Acer campestre L.": 12, "Bellis perennis L.": 10}'))
    assert found.names.take(found.place(found.label[::-1], "votes")).tolist() == [
        "Bellis perennis L.",
        "Acer campestre L.",
    ]


def test_experts_who_differ_gave_no_label(tmp_path: Path) -> None:
    ids, labels = read_expert_labels(file(tmp_path, '{"1": 5, "2": [6, "6"], "3": [6, 7], "4": [], "5": -1}'))
    assert dict(zip(ids.tolist(), labels.tolist(), strict=True)) == {1: 5, 2: 6, 3: -1, 4: -1, 5: -1}


def test_lines_are_numbers(tmp_path: Path) -> None:
    assert read_lines(file(tmp_path, "4\n-1\n2\n")).tolist() == [4, -1, 2]


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (read_answers, "{}", "holds no votes"),
        (read_answers, '{"1": 5}', "users and labels"),
        (read_numbers, '{"1": true}', "whole numbers"),
        (read_numbers, '{"1": null}', "no value"),
        (read_classes, '{"Acer campestre L.": 1, "Bellis perennis L.": 1}', "stands for two names"),
        (read_lines, "4\nfour\n", "one whole number per line"),
    ],
)
def test_a_file_of_something_else_is_an_error(
    tmp_path: Path, read: Callable[[Path], object], text: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        read(file(tmp_path, text))


@pytest.mark.parametrize("read", [read_answers, read_numbers, read_classes, read_expert_labels, read_lines])
def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(MissingInputError, match=r"file\.json"):
        read(tmp_path / "file.json")


def test_a_label_of_no_class_is_an_error(tmp_path: Path) -> None:
    found = read_classes(file(tmp_path, '{"Acer campestre L.": 12}'))
    with pytest.raises(InputError, match="label 13 is not among the classes"):
        found.place(found.label + 1, "votes")
