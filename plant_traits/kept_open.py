"""Keep open what is costly to start: clusters of workers, servers; each ends with the run that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Open(Generic[T]):
    """What is open, by key, each with what ends it."""

    stack: ExitStack
    by_key: dict[Hashable, tuple[ExitStack, T]] = field(default_factory=dict)


class KeptOpen(Generic[T]):
    """Things of one kind; outside of ``keeping`` each ends with its use, inside it waits for the next.

    Args:
        kind: what they are, for debugging.
        usable: whether an open one can still be used; another is started where it cannot.
        one_at_a_time: whether asking for another key ends the one that is open.
    """

    def __init__(
        self, kind: str, *, usable: Callable[[T], bool] = lambda thing: True, one_at_a_time: bool = False
    ) -> None:
        self._open: ContextVar[_Open[T] | None] = ContextVar(f"kept {kind}", default=None)
        self._usable, self._one_at_a_time = usable, one_at_a_time

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep what is started inside until the end; last started, first ended."""
        with ExitStack() as stack:
            token = self._open.set(_Open(stack))
            try:
                yield
            finally:
                self._open.reset(token)

    @contextmanager
    def use(self, key: Hashable, start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
        """Yield what is open under a key, else what ``start`` opens."""
        held = self._open.get()
        if held is None:
            with start() as thing:
                yield thing
            return
        if key not in held.by_key or not self._usable(held.by_key[key][1]):
            if self._one_at_a_time:
                while held.by_key:
                    held.by_key.popitem()[1][0].close()
            own = held.stack.enter_context(ExitStack())
            held.by_key[key] = (own, own.enter_context(start()))
        yield held.by_key[key][1]
