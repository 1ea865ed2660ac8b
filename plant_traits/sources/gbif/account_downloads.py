"""The downloads of a GBIF account: find our own request among them, and say what a refusal means."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from plant_traits.errors import WebError
from plant_traits.month import Month
from plant_traits.sources.protocol import Plan
from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"
API = f"https://{HOST}/v1/occurrence/download"
WAITING = frozenset(["PREPARING", "RUNNING", "SUSPENDED"])


def find_own_download(web: Web, plan: Plan, month: Month, given_up: Collection[str], listed: int) -> str | None:
    """Return the key of a download that was asked for by this plan, if the account has one.

    It is known by its machine description, else by its predicate. One that was made before the month ended does not
    hold the month and is passed over, as are those that ended badly.

    Args:
        web: the client, with the account.
        plan: what is asked.
        month: the run's month.
        given_up: keys that do not count.
        listed: how many of the latest downloads are looked through.

    Raises:
        WebError: the service refused or failed.
    """
    user = web.user(HOST)
    try:
        answer = web.get(f"{API}/user/{user}", params={"limit": listed, "offset": 0}, authenticate=True)
    except WebError as error:
        raise explained(error, user) from None
    results = json_object(answer.json(), f"{API}/user/…").get("results")
    for found in results if isinstance(results, list) else []:
        if not isinstance(found, dict) or found.get("key") in given_up:
            continue
        usable = found.get("status") == "SUCCEEDED" or found.get("status") in WAITING
        complete = str(found.get("created", ""))[:10] >= month.next.first_day.isoformat()
        if usable and complete and _is_ours(found.get("request"), plan):
            return str(found["key"])
    return None


def explained(error: WebError, user: str | None = None) -> WebError:
    """Return the error with what GBIF's refusal means, and without the account's name."""
    meaning = {
        400: "GBIF does not accept the request: correct the acquisition's settings or region",
        401: "GBIF does not accept the user name and password: check them, see docs/sources.md",
        403: "the GBIF account may not do this: log in at gbif.org once and confirm its e-mail address",
        429: "the account has too many downloads in the making: wait until they are done, then run again",
    }.get(error.status or 0)
    told = str(error) if user is None else str(error).replace(f"/user/{user}", "/user/…")
    return WebError(error.reason, told if meaning is None else f"{meaning} ({told})", error.status)


def json_object(answer: object, url: str) -> dict[str, Any]:
    """Return an answer that must be a JSON object.

    Raises:
        WebError: ``unexpected_answer``.
    """
    if not isinstance(answer, dict):
        raise WebError("unexpected_answer", f"{url}: expected a JSON object, found {str(answer)[:80]!r}")
    return answer


def _is_ours(asked: object, plan: Plan) -> bool:
    if not isinstance(asked, dict) or not isinstance(plan.asked, dict):
        return False
    description = asked.get("machineDescription")
    if isinstance(description, dict) and description.get("plan") is not None:
        return bool(description["plan"] == plan.key)
    return all(_bare(asked.get(name)) == _bare(plan.asked[name]) for name in ("format", "checklistKey", "predicate"))


def _bare(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Drop what the service adds to a predicate."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if k != "matchCase"}
    return [_bare(v) for v in value] if isinstance(value, list) else value
