"""Which request goes wrong, and how: decided by a hash, so that the same requests meet the same faults."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from plant_traits.simulation.services.request_log import Asked

#: Kinds and their weights where a service has programs behind it.
SERVICE_FAULTS: Mapping[str, float] = {
    "429-seconds": 1, "429-date": 1, "429": 1, "500": 1, "502": 1, "503": 1, "504": 1,
    "reset": 1, "slow": 1, "cut": 1, "long": 1, "redirect": 1,
}  # fmt: skip
#: Where it is a store of files, which rarely asks to wait.
STORE_FAULTS: Mapping[str, float] = {
    "429-seconds": 0.1, "429-date": 0.1, "429": 0.1, "500": 1, "502": 0.3, "503": 1, "504": 0.3,
    "reset": 2, "slow": 1, "cut": 2, "long": 1, "redirect": 1,
}  # fmt: skip
#: A length that is too small cannot be seen by a client, save where another service told the true one.
SIZED_FAULTS: Mapping[str, float] = {**SERVICE_FAULTS, "short": 2, "cut": 2}
SIZED_HOSTS = frozenset(["occurrence-download.gbif.org"])
#: What may happen to a request that changes something: answers which say that nothing was changed.
_POST_FAULTS: Mapping[str, float] = {"429-seconds": 1, "429-date": 1, "429": 1, "503": 1}
#: ... or, where the asker can look up what became of it, no answer although it was taken.
_DOWNLOAD_REQUEST = "/v1/occurrence/download/request"
_SAFE_FOR_HEAD = ("429-seconds", "429-date", "429", "500", "502", "503", "504", "reset", "redirect")
MOST_IN_A_ROW = 3


class Faults:
    """Decides for the k-th request of an address, from (seed, address, k), whether it fails, and how.

    At most three in a row fail, so a client that asks four times gets what it asked for.
    """

    def __init__(self, share: float, seed: int, past: Iterable[Asked] = ()) -> None:
        """Go on where a log ends.

        Args:
            share: of requests that fail, 0 to 1.
            seed: of the choice.
            past: requests that were answered before.
        """
        self._share = share
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()
        for asked in past:
            if not asked.over_rate:
                self._count(f"{asked.method} {asked.url}", asked.fault)

    def decide(self, method: str, host: str, path: str) -> str:
        """Return the kind of fault of the next request of an address, or an empty text."""
        name = f"{method} https://{host}{path}"
        fault = (
            "" if self._share <= 0 or self._in_a_row[name] >= MOST_IN_A_ROW else self._choose(name, method, host, path)
        )
        self._count(name, fault)
        return fault

    def _count(self, name: str, fault: str) -> None:
        self._asked[name] += 1
        self._in_a_row[name] = self._in_a_row[name] + 1 if fault else 0

    def _choose(self, name: str, method: str, host: str, path: str) -> str:
        digest = hashlib.blake2b(f"{self._seed}|{name}|{self._asked[name]}".encode(), digest_size=16).digest()
        if int.from_bytes(digest[:8]) / 2**64 >= self._share:
            return ""
        weights = faults_of(method, host, path)
        place = int.from_bytes(digest[8:]) / 2**64 * sum(weights.values())
        for kind, weight in weights.items():
            place -= weight
            if place < 0:
                return kind
        return next(iter(weights))


def faults_of(method: str, host: str, path: str) -> dict[str, float]:
    """Return the kinds of faults that requests of an address meet, with their weights."""
    if method not in ("GET", "HEAD"):
        return {**_POST_FAULTS, "lost": 1} if path == _DOWNLOAD_REQUEST else dict(_POST_FAULTS)
    if host in SIZED_HOSTS:
        weights = SIZED_FAULTS
    elif host.startswith("api."):
        weights = SERVICE_FAULTS
    else:
        weights = STORE_FAULTS
    return {kind: weight for kind, weight in weights.items() if method == "GET" or kind in _SAFE_FOR_HEAD}
