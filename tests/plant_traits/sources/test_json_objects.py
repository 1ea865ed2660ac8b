"""JSON read within bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import InputError, MissingInputError
from plant_traits.sources.json_objects import object_entries, read_json_object

KEYS = st.text(st.sampled_from('ab ,:{}[]"\\é'), max_size=6)
FLAT = st.dictionaries(KEYS, st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), KEYS))
NESTED = st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(), max_size=4), max_size=8)


@settings(max_examples=150, deadline=None)
@given(content=FLAT, block=st.integers(60, 200), indent=st.sampled_from([None, 0, 3]))
def test_flat_entries_are_those_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object], block: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    found = [pair for entries in object_entries(path, nested=False, block=block) for pair in entries]
    assert found == list(content.items())


@settings(max_examples=150, deadline=None)
@given(content=NESTED, block=st.integers(60, 200), indent=st.sampled_from([None, 0, 3]))
def test_nested_entries_are_those_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, dict[str, int]], block: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    found = [pair for entries in object_entries(path, nested=True, block=block) for pair in entries]
    assert found == [(key, list(inner.items())) for key, inner in content.items()]


def test_a_block_holds_no_more_than_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({str(k): k for k in range(5000)}), encoding="utf-8")
    blocks = list(object_entries(path, nested=False, block=1000))
    assert len(blocks) > 50
    assert max(map(len, blocks)) < 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a JSON object"),
        ('{"a": 1', "cut off"),
        ('{"a": 1, "b": }', "not readable as JSON"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "not readable as JSON"),
        ('{"a": "' + "x" * 20000 + '"}', "longer than"),
        ("", "expected a JSON object"),
    ],
)
def test_a_broken_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(object_entries(path, nested=False, block=1500))


def test_bytes_that_are_no_text_and_a_file_that_is_not_there_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(InputError, match="not UTF-8"):
        list(object_entries(path, nested=False))
    with pytest.raises(InputError, match="not readable"):
        read_json_object(path, 100)
    with pytest.raises(MissingInputError):
        list(object_entries(tmp_path / "y.json", nested=False))
    with pytest.raises(MissingInputError):
        read_json_object(tmp_path / "y.json", 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "stands twice"),
        ("[1]", "found list"),
        ('{"a": 123456789}', "at most 14 bytes"),
        ("{", "not readable"),
    ],
)
def test_a_small_file_is_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_json_object(path, 14 if "123456789" in text else 100)
