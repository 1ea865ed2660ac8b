"""Work on the next items of a stream in other threads while the last result is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def results_in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2
) -> Iterator[Result]:
    """Apply a function to each item in the pool's threads and yield the results in the items' order.

    At most ``ahead + 1`` items are held. An error of the function is raised where its result would come.
    """
    started: deque[Future[Result]] = deque()
    try:
        for item in items:
            started.append(pool.submit(function, item))
            if len(started) > ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        for future in started:
            future.cancel()


def read_ahead(items: Iterator[Item], ahead: int = 2) -> Iterator[Item]:
    """Yield the items of an iterator that runs in a thread of its own, ``ahead`` items before their use."""
    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(_one, items) for _ in range(ahead))
        while found := coming.popleft().result():
            coming.append(pool.submit(_one, items))
            yield from found


def _one(items: Iterator[Item]) -> tuple[Item, ...]:
    """Take the next item; nothing where there is none."""
    for item in items:
        return (item,)
    return ()
