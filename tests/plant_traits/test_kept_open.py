"""What is kept open is started once a key, and all of it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from plant_traits.kept_open import KeptOpen


class Things:
    """Opens numbered things and notes what became of them."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.ended: list[str] = []

    def start(self, name: str) -> AbstractContextManager[str]:
        @contextmanager
        def opening() -> Iterator[str]:
            self.made.append(name)
            try:
                yield name
            finally:
                self.ended.append(name)

        return opening()


def test_outside_of_keeping_each_use_has_its_own() -> None:
    things, kept = Things(), KeptOpen[str]("things")
    for _ in range(2):
        with kept.use("a", lambda: things.start("a")) as thing:
            assert thing == "a"
            assert len(things.made) == len(things.ended) + 1
    assert things.made == things.ended == ["a", "a"]


def test_inside_a_key_is_started_once_and_the_last_started_ends_first() -> None:
    things, kept = Things(), KeptOpen[str]("things")
    with kept.keeping():
        for name in ("a", "b", "a", "b"):
            with kept.use(name, lambda name=name: things.start(name)) as thing:  # type: ignore[misc]
                assert thing == name
        assert things.made == ["a", "b"]
        assert things.ended == []
    assert things.ended == ["b", "a"]
    with kept.use("a", lambda: things.start("a")):
        pass
    assert things.made == ["a", "b", "a"]


def test_one_at_a_time_ends_another_before_it_starts_the_next() -> None:
    things, kept = Things(), KeptOpen[str]("things", one_at_a_time=True)
    with kept.keeping():
        with kept.use(1, lambda: things.start("first")):
            pass
        with kept.use(2, lambda: things.start("second")):
            assert things.ended == ["first"]
        with kept.use(1, lambda: things.start("first again")):
            assert things.ended == ["first", "second"]
    assert things.ended == ["first", "second", "first again"]


def test_what_cannot_be_used_any_more_is_replaced_and_still_ends() -> None:
    things, dead = Things(), set[str]()
    kept = KeptOpen[str]("things", usable=lambda thing: thing not in dead)
    with kept.keeping():
        with kept.use("key", lambda: things.start("old")):
            pass
        dead.add("old")
        with kept.use("key", lambda: things.start("new")) as thing:
            assert thing == "new"
    assert sorted(things.ended) == ["new", "old"]


def test_what_failed_to_start_is_asked_for_again_and_leaves_nothing_open() -> None:
    things, kept = Things(), KeptOpen[str]("things")

    @contextmanager
    def failing() -> Iterator[str]:
        raise OSError("no port is free")
        yield ""

    with kept.keeping():
        with pytest.raises(OSError, match="no port"), kept.use("key", failing):
            pass
        with kept.use("key", lambda: things.start("second try")) as thing:
            assert thing == "second try"
    assert things.ended == ["second try"]
