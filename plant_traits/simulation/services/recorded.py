"""Recorded exchanges with the real services, given back as they were."""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from starlette.responses import Response

from plant_traits.errors import InputError

_KEPT_HEADERS = ("content-type", "location", "retry-after", "etag", "last-modified")


@dataclass
class Recorded:
    """Exchanges by method, host, path and query; a request that was made several times is answered in turn.

    Attributes:
        exchanges: answers by request, in the order in which they were recorded.
    """

    exchanges: Mapping[tuple[str, ...], list[Response]]
    _asked: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """Read all VCR cassettes of a folder, of Python's kind (``interactions``) or Ruby's (``http_interactions``).

        Raises:
            InputError: a file is no cassette.
        """
        found: dict[tuple[str, ...], list[Response]] = defaultdict(list)
        for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
            try:
                tape = yaml.safe_load(path.read_text(encoding="utf-8"))
                for exchange in tape.get("interactions") or tape["http_interactions"]:
                    request = exchange["request"]
                    found[_key(str(request["method"]), str(request["uri"]))].append(_answer(exchange["response"]))
            except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
                raise InputError(f"{path}: expected a VCR cassette of HTTP exchanges ({error})") from error
        return cls(found)

    def answer(self, method: str, host: str, path: str) -> Response | None:
        """Return the recorded answer to a request, the last one again where it is asked oftener, or None."""
        key = _key(method, f"https://{host}{path}")
        answers = self.exchanges.get(key)
        if answers is None:
            return None
        turn = min(self._asked[key], len(answers) - 1)
        self._asked[key] += 1
        return answers[turn]


def _key(method: str, url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    query = sorted(f"{name}={value}" for name, value in parse_qsl(parts.query, keep_blank_values=True))
    return (method.upper(), parts.hostname or "", parts.path, *query)


def _answer(told: Mapping[str, Any]) -> Response:
    status = told["status"]
    code = int(status["code"] if isinstance(status, Mapping) else status)
    headers = {}
    for name, value in (told.get("headers") or {}).items():
        if str(name).lower() in _KEPT_HEADERS:
            headers[str(name).lower()] = str(value[0] if isinstance(value, list) else value)
    return Response(_body(told.get("body")), code, headers)


def _body(body: object) -> bytes:
    if not isinstance(body, Mapping):
        return str(body or "").encode()
    if "raw_gzip" in body:
        return gzip.decompress(base64.b64decode(body["raw_gzip"]))
    if "base64_string" in body:
        return base64.b64decode(body["base64_string"])
    text = body.get("string") or b""
    if isinstance(text, bytes):
        return text
    return text.encode() if isinstance(text, str) else json.dumps(text).encode()
