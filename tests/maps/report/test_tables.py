"""Profiles as rows of a table."""

from __future__ import annotations

from maps.report.tables import flatten


def test_profiles_flatten_to_paths() -> None:
    nested = {"a": {"b": 1, "c": [1.5, 2.0]}, "d": [{"e": None}, {"e": True}], "f": []}
    assert flatten(nested) == [
        ("a.b", "1"), ("a.c", "1.5, 2"), ("d.1.e", "–"), ("d.2.e", "yes"), ("f", "–"),
    ]  # fmt: skip
