"""How long to go on asking a server, which failures may pass, and the loop that asks again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from plant_traits.errors import WebError


@dataclass(frozen=True)
class Patience:
    """How long to go on asking.

    Attributes:
        attempts: requests in all for one answer.
        first_wait_s: upper end of the first pause; it doubles from one to the next.
        longest_wait_s: upper end of any pause between requests of one answer. A longer Retry-After of a host keeps
            everybody from it in ``Pace``.
        timeout_s: seconds without a byte after which a connection counts as dead.
        longest_answer_s: seconds that the body of a small answer may take, however steadily it drips.
        longest_queue_s: seconds that a request may wait for its host's budget; what would wait longer is given up as
            ``over_budget``.
    """

    attempts: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0
    timeout_s: float = 60.0
    longest_answer_s: float = 900.0
    longest_queue_s: float = 86_400.0

    def retrying(self, sleep: Callable[[float], None], retried: Callable[[], None]) -> Retrying:
        """Return the retry loop for work that raises ``Passing``; the last failure's ``WebError`` comes out.

        Args:
            sleep: waits so many seconds.
            retried: called before each further attempt.
        """
        return Retrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_attempt(self.attempts),
            wait=self._pause,
            sleep=sleep,
            before_sleep=lambda _: retried(),
            retry_error_callback=_give_up,
        )

    def _pause(self, state: RetryCallState) -> float:
        usual = wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)(state)
        failure = state.outcome.exception() if state.outcome is not None else None
        asked = failure.retry_after_s if isinstance(failure, Passing) else None
        return usual if asked is None else min(max(asked, usual), self.longest_wait_s)


class Passing(Exception):
    """A failure that may pass: asked again until patience ends.

    Attributes:
        error: what is told when patience ends.
        retry_after_s: pause that the server asks for.
        sent: False where the request certainly did not reach the server.
    """

    def __init__(self, error: WebError, retry_after_s: float | None = None, *, sent: bool = True) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s
        self.sent = sent


def _give_up(state: RetryCallState) -> Any:  # noqa: ANN401 - it never returns
    failure = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(failure, Passing):
        raise TypeError(f"a retry loop ended without a passing failure: {failure!r}")
    error = failure.error
    detail = f"{error}; asked {state.attempt_number} times in {state.seconds_since_start or 0:.0f} s, run again later"
    raise WebError(error.reason, detail, error.status) from failure


def retry_after_s(text: str | None, date: str | None = None) -> float | None:
    """Read a Retry-After header, seconds or a date (told from the answer's own Date); None where it says nothing."""
    if text is None:
        return None
    try:
        seconds = float(text)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    except ValueError:
        pass
    try:
        now = parsedate_to_datetime(date or "")
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
