"""How long to go on asking a server, and which failures may pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

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
