"""iNaturalist's API, version 1: observations with photos and identifications, and taxa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plant_traits.simulation.write_identifications import IDENTIFICATIONS, TAXA

LARGEST_PAGE = 200
DEEPEST_RECORD = 10_000
_DEFAULT_PAGE = 30
_PLANTS = (48460, 47126, 211194)


class InaturalistApi:
    """Answers for the observations of iNaturalist's tables."""

    def __init__(self, made: Callable[[], Path]) -> None:
        """Take what gives the folder of the written tables and identifications; it is called when first asked."""
        self._made = made

    def routes(self) -> list[Route]:
        """Return the routes at api.inaturalist.org."""
        return [
            Route("/v1/observations", self.observations, methods=["GET"]),
            Route("/v1/observations/{ids}", self.by_id, methods=["GET"]),
            Route("/v1/taxa/{ids}", self.taxa, methods=["GET"]),
        ]

    async def observations(self, request: Request) -> Response:
        """Answer a page of observations; beyond the 10,000th only ``id_above`` leads."""
        return await run_in_threadpool(self._page, request.query_params)

    async def by_id(self, request: Request) -> Response:
        """Answer observations by their numbers, separated by commas."""
        return await run_in_threadpool(self._of_ids, request.path_params["ids"])

    async def taxa(self, request: Request) -> Response:
        """Answer taxa by their numbers, separated by commas."""
        wanted = [int(x) for x in request.path_params["ids"].split(",") if x.isdigit()]
        rows = self._taxa[self._taxa["taxon_id"].isin(wanted)]
        return JSONResponse(_paged([_taxon(line) for line in rows.to_dict("records")], len(rows), 1, _DEFAULT_PAGE))

    def _page(self, asked: QueryParams) -> Response:
        try:
            page = max(1, int(asked.get("page", "1")))
            size = min(int(asked.get("per_page", str(_DEFAULT_PAGE))), LARGEST_PAGE)
            chosen = self._chosen(asked)
        except ValueError as error:
            return JSONResponse({"error": f"Bad request: {error}", "status": 422}, 422)
        if page * size > DEEPEST_RECORD:
            told = f"Result window is too large, page * per_page must be <= {DEEPEST_RECORD}"
            return JSONResponse({"error": told, "status": 403}, 403)
        rows = np.flatnonzero(chosen)
        by = "id" if asked.get("order_by", "created_at") in ("id", "created_at") else "observed_on"
        keys = self._table[by].to_numpy()[rows]
        rows = rows[np.argsort(keys, kind="stable")]
        if asked.get("order", "desc") == "desc":
            rows = rows[::-1]
        shown = rows[(page - 1) * size : page * size]
        return JSONResponse(_paged([self._observation(int(k)) for k in shown], len(rows), page, size))

    def _of_ids(self, text: str) -> Response:
        wanted = [int(x) for x in text.split(",") if x.isdigit()]
        if not wanted:
            return JSONResponse({"error": "invalid id", "status": 422}, 422)
        rows = np.flatnonzero(self._table["id"].isin(wanted).to_numpy())
        return JSONResponse(_paged([self._observation(int(k)) for k in rows], len(rows), 1, _DEFAULT_PAGE))

    def _chosen(self, asked: QueryParams) -> npt.NDArray[np.bool_]:
        table = self._table
        chosen = np.ones(len(table), dtype=bool)
        above, below = int(asked.get("id_above", "0")), int(asked.get("id_below", str(2**62)))
        chosen &= table["id"].between(above, below, inclusive="neither").to_numpy()
        if "id" in asked:
            chosen &= table["id"].isin([int(x) for x in asked["id"].split(",")]).to_numpy()
        for name, column in (("uuid", "observation_uuid"), ("quality_grade", "quality_grade")):
            if name in asked:
                chosen &= table[column].isin(asked[name].split(",")).to_numpy()
        if "taxon_id" in asked:
            wanted = {int(x) for x in asked["taxon_id"].split(",")}
            chosen &= np.array([not wanted.isdisjoint(self._lines[x]) for x in table["taxon_id"]], dtype=bool)
        if "captive" in asked:
            casual = (table["quality_grade"] == "casual").to_numpy()
            chosen &= casual == (asked["captive"] == "true")
        for name in ("license", "photo_license"):
            if name in asked:
                wanted_licences = set(asked[name].upper().split(","))
                chosen &= np.array([not wanted_licences.isdisjoint(x) for x in table["license"]], dtype=bool)
        if "d1" in asked:
            chosen &= (table["observed_on"] >= asked["d1"]).to_numpy()
        if "d2" in asked:
            chosen &= (table["observed_on"] <= asked["d2"]).to_numpy()
        for name, axis, sign in (("swlat", "latitude", 1), ("nelat", "latitude", -1), ("swlng", "longitude", 1),
                                 ("nelng", "longitude", -1)):  # fmt: skip
            if name in asked:
                chosen &= (sign * self._numbers[axis] >= sign * float(asked[name])).to_numpy()
        return chosen

    @cached_property
    def _table(self) -> pd.DataFrame:
        return pd.read_parquet(self._made() / "observations.parquet")

    @cached_property
    def _numbers(self) -> pd.DataFrame:
        numbers = {axis: pd.to_numeric(self._table[axis], errors="coerce") for axis in ("latitude", "longitude")}
        return pd.DataFrame(numbers)

    @cached_property
    def _taxa(self) -> pd.DataFrame:
        return pd.read_parquet(self._made() / TAXA)

    @cached_property
    def _said(self) -> list[dict[Any, Any]]:
        frame = pd.read_parquet(self._made() / IDENTIFICATIONS)
        return frame.astype(object).where(frame.notna(), None).to_dict("records")

    @cached_property
    def _said_of(self) -> dict[int, tuple[int, int]]:
        """First row of ``_said`` of each observation, and the row after its last."""
        number, first = np.unique([line["observation"] for line in self._said], return_index=True)
        ends = [*first[1:].tolist(), len(self._said)]
        return {k: (start, end) for k, start, end in zip(number.tolist(), first.tolist(), ends, strict=True)}

    @cached_property
    def _logins(self) -> dict[int, str]:
        observers = pd.read_csv(self._made() / "bucket" / "observers.csv.gz", sep="\t", quoting=3)
        return {int(k): str(name) for k, name in zip(observers["observer_id"], observers["login"], strict=True)}

    @cached_property
    def _number_of(self) -> dict[str, int]:
        """Number of a taxon by its name."""
        return {str(name): int(k) for name, k in zip(self._taxa["name"], self._taxa["taxon_id"], strict=True)}

    @cached_property
    def _lines(self) -> dict[int, tuple[int, ...]]:
        """Numbers of a taxon and of all above it."""
        return {
            int(number): (*(int(x) for x in str(ancestry).split("/") if x), int(number))
            for number, ancestry in zip(self._taxa["taxon_id"], self._taxa["ancestry"], strict=True)
        }

    @cached_property
    def _taxon_of(self) -> dict[int, dict[str, Any]]:
        return {int(line["taxon_id"]): _taxon(line) for line in self._taxa.to_dict("records")}

    def _with_ancestors(self, number: int) -> dict[str, Any]:
        above = [self._taxon_of[x] for x in self._lines[number][:-1] if x in self._taxon_of]
        return {**self._taxon_of[number], "ancestors": above}

    def _observation(self, row: int) -> dict[str, Any]:
        line = self._table.iloc[row]
        number, taxon = int(line["id"]), self._taxon_of[int(line["taxon_id"])]
        photos = [
            {
                "id": int(photo),
                "license_code": licence.lower(),
                "attribution": f"(c) {line['login']}, some rights reserved ({licence})",
                "url": f"https://inaturalist-open-data.s3.amazonaws.com/photos/{photo}/square.jpg",
            }
            for photo, licence in zip(line["photo_id"], line["license"], strict=True)
        ]
        place = "" if line["latitude"] == "" else f"{line['latitude']},{line['longitude']}"
        user = {"id": int(line["observer_id"]), "login": line["login"]}
        return {
            "id": number,
            "uuid": line["observation_uuid"],
            "quality_grade": line["quality_grade"],
            "observed_on": line["observed_on"],
            "created_at": f"{line['observed_on']}T12:00:00+00:00",
            "updated_at": f"{line['observed_on']}T18:00:00+00:00",
            "location": place or None,
            "positional_accuracy": float(line["positional_accuracy"]) if line["positional_accuracy"] else None,
            "captive": line["quality_grade"] == "casual",
            "obscured": False,
            "license_code": photos[0]["license_code"] if photos else None,
            "species_guess": line["species"],
            "taxon": taxon,
            "user": user,
            "uri": f"https://www.inaturalist.org/observations/{number}",
            "photos": photos,
            "observation_photos": [{"position": k, "photo": photo} for k, photo in enumerate(photos)],
            "identifications": self._identifications(number),
        }

    def _identifications(self, observation: int) -> list[dict[str, Any]]:
        lines = self._said[slice(*self._said_of.get(observation, (0, 0)))]
        standing = Counter(line["name"] for line in lines if line["current"])
        most = min(standing, key=lambda name: (-standing[name], name), default=None)
        out: list[dict[str, Any]] = []
        for line in lines:
            taxon = self._number_of[str(line["name"])]
            before = None if line["previous"] is None else self._number_of[str(line["previous"])]
            agrees = line["name"] == most
            supports = agrees and any(x["category"] == "improving" for x in out)
            category = "supporting" if supports else "improving" if agrees else "maverick"
            out.append(
                {
                    "id": int(line["identification"]),
                    "user": {"id": int(line["user"]), "login": self._logins[int(line["user"])]},
                    "taxon_id": taxon,
                    "taxon": self._with_ancestors(taxon),
                    "current": bool(line["current"]),
                    "own_observation": bool(line["own"]),
                    "category": category if line["current"] else None,
                    "disagreement": None if line["disagreement"] is None else bool(line["disagreement"]),
                    "previous_observation_taxon_id": before,
                    "previous_observation_taxon": None if before is None else self._taxon_of[before],
                    "created_at": f"{line['created'].isoformat()}+00:00",
                }
            )
        return out


def _taxon(line: dict[Any, Any]) -> dict[str, Any]:
    ancestors = [int(x) for x in str(line["ancestry"]).split("/") if x]
    return {
        "id": int(line["taxon_id"]),
        "name": line["name"],
        "rank": line["rank"],
        "rank_level": int(line["rank_level"]),
        "is_active": True,
        "ancestry": str(line["ancestry"]),
        "ancestor_ids": [*ancestors, int(line["taxon_id"])],
        "iconic_taxon_name": "Plantae" if _PLANTS[1] in ancestors else "Animalia",
    }


def _paged(results: list[dict[str, Any]], total: int, page: int, size: int) -> dict[str, Any]:
    return {"total_results": total, "page": page, "per_page": size, "results": results}
