"""Remember in a folder which download was asked for, so that a killed run does not ask twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from plant_traits.sources.protocol import Plan

_NAME = "download.json"


@dataclass(frozen=True)
class DownloadJournal:
    """``download.json`` in the folder of an acquisition, and those that were set aside.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def key(self, plan: Plan) -> str | None:
        """Return the key of the download that was asked for by this plan, if any."""
        try:
            known = json.loads((self.folder / _NAME).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        ours = isinstance(known, dict) and known.get("plan") == plan.key and isinstance(known.get("key"), str)
        return str(known["key"]) if ours else None

    def write(self, plan: Plan, key: str, body: Mapping[str, JsonValue]) -> None:
        """Remember a download in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f"{_NAME}.new"
        aside.write_text(json.dumps({"plan": plan.key, "key": key, "asked": dict(body)}, indent=1), encoding="utf-8")
        aside.replace(self.folder / _NAME)

    def set_aside(self, key: str, state: str) -> None:
        """Give a download up: the next run asks anew. What was fetched of it in part goes."""
        (self.folder / _NAME).replace(self.folder / f"download.{key}.{state}.json")
        for part in self.folder.glob(f"{key}.zip.part*"):
            part.unlink()

    def given_up(self) -> set[str]:
        """Return the keys that were set aside."""
        return {path.name.split(".")[1] for path in self.folder.glob("download.*.*.json")}
