"""Whether requests keep to the rates that were declared."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

_WINDOWS_S = (5.0, 60.0)
_MARGIN = 1.1
_BURST = 5  # requests that may crowd together on their way here


class Rates:
    """Watches the requests of each host over sliding windows of 5 and 60 seconds."""

    def __init__(self, per_minute: Mapping[str, float]) -> None:
        """Declare requests per minute by host; hosts without an entry are not watched."""
        self._per_minute = dict(per_minute)
        self._recent: dict[str, deque[float]] = {host: deque() for host in per_minute}

    def exceeded(self, host: str, at: float) -> bool:
        """Count a request; True where a window now holds more than a tenth and five over its share."""
        if host not in self._per_minute:
            return False
        recent = self._recent[host]
        recent.append(at)
        while recent[0] <= at - max(_WINDOWS_S):
            recent.popleft()
        rate = self._per_minute[host] / 60
        short = 0
        for earlier in reversed(recent):
            if earlier <= at - min(_WINDOWS_S):
                break
            short += 1
        counts = dict(zip(_WINDOWS_S, (short, len(recent)), strict=True))
        return any(count > window * rate * _MARGIN + _BURST for window, count in counts.items())
