"""The loop that asks again: how often, after which pauses, and what comes out in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plant_traits.errors import WebError
from plant_traits.sources.web.patience import Passing, Patience


class Pauses:
    """What a loop waited, and how often it told that it asks again."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.told = 0

    def tell(self) -> None:
        self.told += 1


def failing(times: int, retry_after_s: float | None = None) -> Callable[[], str]:
    left = iter(range(times))

    def work() -> str:
        if next(left, None) is not None:
            raise Passing(WebError("unavailable", "the server answers 503", 503), retry_after_s)
        return "answer"

    return work


def test_work_is_done_again_until_it_succeeds() -> None:
    pauses = Pauses()
    loop = Patience(first_wait_s=1.0, longest_wait_s=3.0).retrying(pauses.seconds.append, pauses.tell)
    assert loop(failing(5)) == "answer"
    assert pauses.told == len(pauses.seconds) == 5
    assert all(0 <= waited <= most for waited, most in zip(pauses.seconds, (1, 2, 3, 3, 3), strict=True))


def test_the_pause_is_what_the_server_asks_for_up_to_the_longest() -> None:
    pauses = Pauses()
    patience = Patience(first_wait_s=0.0, longest_wait_s=30.0)
    patience.retrying(pauses.seconds.append, pauses.tell)(failing(1, 12.0))
    patience.retrying(pauses.seconds.append, pauses.tell)(failing(1, 3600.0))
    assert pauses.seconds == [12.0, 30.0]


def test_the_last_failure_comes_out_when_patience_ends() -> None:
    pauses = Pauses()
    loop = Patience(attempts=3).retrying(pauses.seconds.append, pauses.tell)
    with pytest.raises(WebError, match="asked 3 times") as caught:
        loop(failing(9))
    assert (caught.value.reason, caught.value.status, pauses.told) == ("unavailable", 503, 2)


def test_a_failure_that_will_not_pass_ends_it_at_once() -> None:
    pauses = Pauses()

    def work() -> None:
        raise WebError("gone", "no such thing", 404)

    with pytest.raises(WebError, match="no such thing"):
        Patience().retrying(pauses.seconds.append, pauses.tell)(work)
    assert pauses.told == 0
