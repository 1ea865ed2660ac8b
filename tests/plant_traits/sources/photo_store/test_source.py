from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest

from plant_traits.errors import InputError, MissingInputError, PhotoError, TableError, WorkspaceError
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.photo_store.photo_list import PHOTO_STATE
from plant_traits.sources.photo_store.source import PhotoSource
from plant_traits.sources.photos import open_photos
from plant_traits.sources.protocol import Fetched, Request
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.photo_store.conftest import PhotoServer, Reply

BUCKET = "https://inaturalist-open-data.s3.amazonaws.com/photos"
ELSEWHERE = "https://photos.example.org"


def original(photo_id: int) -> str:
    return f"{BUCKET}/{photo_id}/original.jpg"


def medium(photo_id: int) -> str:
    return f"{BUCKET}/{photo_id}/medium.jpg"


def run(request: Request, web: Web, destination: Path) -> tuple[Fetched, pd.DataFrame]:
    """Go through the four steps and return what was fetched and the list of photos by id."""
    source = PhotoSource()
    plan = source.plan(request)
    fetched = source.fetch(request, plan, web)
    source.verify(request, fetched)
    destination.mkdir(exist_ok=True)
    counts = source.normalise(request, fetched, destination)
    assert pq.read_schema(destination / "photos.parquet") == PHOTO_STATE
    states = pd.read_parquet(destination / "photos.parquet").set_index("photo_id")
    assert counts["rows"] == len(states)
    return fetched, states


def names_of(pack: Path) -> list[str]:
    with tarfile.open(pack) as archive:
        return archive.getnames()


def test_photos_are_fetched_once_each_checked_and_kept_with_their_attribution(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    for k in range(1, 6):
        server.serve(medium(k), reply(photo(k)))
    rows = [(str(k), original(k)) for k in range(1, 6)]
    request = request_of([*rows, ("3", original(3)), (None, None)])
    fetched, states = run(request, web_of(), tmp_path / "out")
    assert dict(server.asked) == {medium(k).removeprefix("https:/"): 1 for k in range(1, 6)}
    assert list(states.index) == ["1", "2", "3", "4", "5"]
    assert set(states["status"]) == {"ok"}
    row = states.loc["4"]
    assert row["sha256"] == hashlib.sha256(photo(4)).hexdigest()
    assert (row["width"], row["height"], row["size_bytes"]) == (96, 72, len(photo(4)))
    assert (row["photo_url"], row["licence"], row["attribution"]) == (medium(4), "CC-BY-4.0", "someone")
    assert fetched.lost == {}
    with open_photos("photo-store", request.folder) as photos:
        assert {k: photos.read(str(k)) for k in range(1, 6)} == {k: photo(k) for k in range(1, 6)}
        assert "6" not in photos


def test_a_pack_is_a_tar_file_that_anything_reads(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo(1)))
    server.serve(medium(2), reply(photo(2, kind="PNG")))
    fetched, _ = run(request_of([("1", original(1)), ("2", original(2))]), web_of(), tmp_path / "out")
    packs = [tmp_path / "store" / name for name in fetched.files if name.endswith(".tar")]
    with tarfile.open(packs[0]) as archive:
        found = {head.name: archive.extractfile(head).read() for head in archive}
        assert '"attribution": "someone"' in archive.getmember("1.jpg").pax_headers["comment"]
    assert found == {"1.jpg": photo(1), "2.png": photo(2, kind="PNG")}


def test_packs_are_bounded_and_the_store_grows_over_months(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    for k in range(1, 9):
        server.serve(medium(k), reply(photo(k)))
    web = web_of(connections=1)
    run(request_of([(str(k), original(k)) for k in range(1, 5)], pack_bytes=8000), web, tmp_path / "out")
    _, states = run(request_of([(str(k), original(k)) for k in range(3, 9)], pack_bytes=8000), web, tmp_path / "out")
    assert set(states["status"]) == {"ok"}
    assert len(states) == 6
    assert set(server.asked.values()) == {1}
    packs = sorted((tmp_path / "store" / "packs").iterdir())
    assert len(packs) > 2
    longest = max(len(photo(k)) for k in range(1, 9))
    assert all(path.stat().st_size < 8000 + longest + 4096 for path in packs)
    assert sorted(name for path in packs for name in names_of(path)) == [f"{k}.jpg" for k in range(1, 9)]


def test_the_same_bytes_under_two_ids_are_kept_once(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo(1)))
    server.serve(f"{ELSEWHERE}/a.jpg", reply(photo(1)))
    request = request_of([("1", original(1)), ("url-a", f"{ELSEWHERE}/a.jpg")])
    _, states = run(request, web_of(connections=1), tmp_path / "out")
    assert states["sha256"].nunique() == 1
    assert len(names_of(next((tmp_path / "store" / "packs").iterdir()))) == 1
    with open_photos("photo-store", request.folder) as photos:
        assert photos.read("1") == photos.read("url-a") == photo(1)


@pytest.mark.parametrize(
    ("size", "asked"),
    [("medium", "medium"), ("large", "large"), ("original", "original")],
)
def test_the_wanted_size_is_asked_for(
    size: str,
    asked: str,
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
) -> None:
    rows = [("1", original(1)), ("x", f"{ELSEWHERE}/photos/1/original.jpg?v=1")]
    run(request_of(rows, size=size), web_of(), tmp_path / "out")
    assert sorted(server.asked) == [
        f"/inaturalist-open-data.s3.amazonaws.com/photos/1/{asked}.jpg",
        "/photos.example.org/photos/1/original.jpg?v=1",
    ]


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("CC_BY_ND_4_0", "licence_not_allowed"),
        ("CC-BY-NC-ND", "licence_not_allowed"),
        ("All rights reserved", "licence_unknown"),
        (None, "licence_unknown"),
    ],
)
def test_a_photo_without_a_fitting_licence_is_not_asked_for(
    licence: str | None,
    reason: str,
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo()))
    request = request_of([("1", original(1), licence)])
    fetched, states = run(request, web_of(), tmp_path / "out")
    assert states.loc["1", ["status", "reason"]].tolist() == ["refused", reason]
    assert fetched.lost == {reason: 1}
    assert not server.asked
    with open_photos("photo-store", request.folder) as photos, pytest.raises(PhotoError) as caught:
        photos.read("1")
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "licence", ["http://creativecommons.org/licenses/by-nc/4.0/", "CC0_1_0", "PD", "CC-BY-SA", "CC-BY-NC-SA"]
)
def test_fitting_licences_are_understood(
    licence: str,
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo()))
    _, states = run(request_of([("1", original(1), licence)]), web_of(), tmp_path / "out")
    assert states.loc["1", "status"] == "ok"


def test_one_row_that_refuses_a_photo_refuses_it(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo()))
    rows = [("1", original(1), "CC0-1.0"), ("1", original(1), "CC-BY-ND-4.0"), ("1", original(1), "CC0-1.0")]
    _, states = run(request_of(rows), web_of(), tmp_path / "out")
    assert states.loc["1", ["reason", "licence"]].tolist() == ["licence_not_allowed", "CC-BY-ND-4.0"]
    assert not server.asked


def test_a_licence_that_becomes_stricter_closes_a_held_photo_and_back(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo()))
    web = web_of()
    statuses = []
    for licence in ("CC-BY-4.0", "All rights reserved", "CC-BY-4.0"):
        request = request_of([("1", original(1), licence)])
        _, states = run(request, web, tmp_path / "out")
        statuses.append(states.loc["1", "status"])
        with open_photos("photo-store", request.folder) as photos:
            if licence == "CC-BY-4.0":
                assert photos.read("1") == photo()
            else:
                with pytest.raises(PhotoError):
                    photos.read("1")
    assert statuses == ["ok", "refused", "ok"]
    assert server.times(medium(1)) == 1


@pytest.mark.parametrize(("status", "reason"), [(404, "gone"), (410, "gone"), (403, "forbidden"), (401, "forbidden")])
def test_what_is_gone_is_never_asked_for_again_unless_told(
    status: int,
    reason: str,
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(status=status), reply(photo()))
    web = web_of()
    rows = [("1", original(1))]
    first = request_of(rows)
    _, states = run(first, web, tmp_path / "out")
    assert states.loc["1", ["status", "reason"]].tolist() == ["failed", reason]
    key = PhotoSource().plan(first).key
    run(request_of([*rows, ("2", original(2))]), web, tmp_path / "out")
    assert server.times(medium(1)) == 1
    assert PhotoSource().plan(request_of(rows)).key == key  # nothing is left to ask
    _, states = run(request_of(rows, retry_failed=True), web, tmp_path / "out")
    assert states.loc["1", "status"] == "ok"
    assert server.times(medium(1)) == 2


def test_what_is_unavailable_is_asked_for_in_the_next_run(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(status=503), reply(status=500), reply(photo()))
    web = web_of(attempts=1)
    request = request_of([("1", original(1))])
    keys, reasons = [PhotoSource().plan(request).key], []
    for _ in range(4):
        fetched, _ = run(request, web, tmp_path / "out")
        keys.append(PhotoSource().plan(request).key)
        reasons.append(dict(fetched.lost))
    assert reasons == [{"unavailable": 1}, {"unavailable": 1}, {}, {}]
    assert len(set(keys[:3])) == 3  # a plan that differs is fetched, whatever was acquired before
    assert len(set(keys[2:])) == 1
    assert server.times(medium(1)) == 3


def test_what_comes_broken_is_asked_for_in_a_few_runs(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(b"no", status=418))
    server.serve(medium(2), reply(photo(2), cut=300))
    server.serve(medium(3), reply(b"<html>it came whole</html>"))
    web = web_of(attempts=1)
    request = request_of([(str(k), original(k)) for k in (1, 2, 3)], attempts=3)
    for _ in range(5):
        fetched, _ = run(request, web, tmp_path / "out")
        assert fetched.lost == {"incomplete": 1, "not_a_photo": 1, "unexpected_answer": 1}
    assert [server.times(medium(k)) for k in (1, 2, 3)] == [3, 3, 1]


def test_a_changed_address_of_a_failed_photo_is_tried(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(f"{BUCKET}/1/medium.jpeg", reply(photo()))
    web = web_of()
    run(request_of([("1", original(1))]), web, tmp_path / "out")
    _, states = run(request_of([("1", f"{BUCKET}/1/original.jpeg")]), web, tmp_path / "out")
    assert states.loc["1", "status"] == "ok"


def test_a_host_that_is_down_is_left_alone_and_the_others_go_on(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    for k in range(1, 41):
        server.serve(medium(k), reply(status=500))
        server.serve(f"{ELSEWHERE}/{k}.jpg", reply(photo(k)))
    rows = [(str(k), original(k)) for k in range(1, 41)] + [(f"url-{k}", f"{ELSEWHERE}/{k}.jpg") for k in range(1, 41)]
    fetched, states = run(request_of(rows, failures_in_a_row=5), web_of(connections=2), tmp_path / "out")
    assert (states["status"] == "ok").sum() == 40
    down = sum(n for path, n in server.asked.items() if "inaturalist" in path)
    assert 5 <= down <= 6  # a second connection may be on its way
    assert fetched.lost == {"unavailable": down, "postponed": 40 - down}
    assert (states["reason"] == "postponed").sum() == 40 - down


def test_a_host_over_its_budget_is_left_for_a_later_run(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    for k in range(1, 7):
        server.serve(medium(k), reply(photo(k)))
    request = request_of([(str(k), original(k)) for k in range(1, 7)])
    web = web_of(connections=1)
    limits = web.pace.limits["inaturalist-open-data.s3.amazonaws.com"]
    web.pace.limits[limits.host] = limits.model_copy(update={"requests_per_day": 4})
    web.pace._longest_wait = 0.0
    fetched, states = run(request, web, tmp_path / "out")
    assert fetched.lost == {"postponed": 2}
    assert states["status"].tolist() == ["ok"] * 4 + ["postponed"] * 2
    web.pace.limits[limits.host] = limits
    fetched, _ = run(request, web, tmp_path / "out")
    assert fetched.lost == {}
    assert set(server.asked.values()) == {1}


def test_addresses_outside_the_catalogue_are_refused_until_it_names_them(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve("https://new.example.org/a.jpg", reply(photo()))
    rows = [
        ("a", "https://new.example.org/a.jpg"),
        ("b", "http://photos.example.org/b.jpg"),
        ("c", "https://127.0.0.1/c.jpg"),
        ("d", "https://169.254.169.254/latest/meta-data"),
        ("e", "https://user:word@photos.example.org/e.jpg"),
        ("f", "https://photos.example.org:8080/f.jpg"),
        ("g", "https://photos.example.org\\@evil.example.org/g.jpg"),
        ("h", "file:///etc/passwd"),
        ("i", "https://2130706433/i.jpg"),
        ("j", "not an address"),
        ("k", None),
        ("../l", "https://photos.example.org/l.jpg"),
    ]
    fetched, states = run(request_of(rows), web_of(), tmp_path / "out")
    assert fetched.lost == {"refused_address": 10, "no_address": 1, "bad_photo_id": 1}
    assert set(states["status"]) == {"refused"}
    assert not server.asked
    known = ("inaturalist-open-data.s3.amazonaws.com", "photos.example.org", "new.example.org")
    fetched, states = run(request_of(rows), web_of(hosts=known), tmp_path / "out")
    assert states.loc["a", "status"] == "ok"
    assert sum(server.asked.values()) == 1


def test_the_plan_is_of_the_photos_whatever_their_order(tmp_path: Path, request_of: Callable[..., Request]) -> None:
    rows = [("1", original(1)), ("2", original(2)), ("3", original(3), "CC0-1.0")]
    key = PhotoSource().plan(request_of(rows)).key
    assert PhotoSource().plan(request_of([*rows[::-1], (None, None)])).key == key
    others = [
        PhotoSource().plan(request_of(rows[:2])).key,
        PhotoSource().plan(request_of([*rows[:2], ("3", original(3))])).key,
        PhotoSource().plan(request_of([*rows[:2], ("3", original(4), "CC0-1.0")])).key,
        PhotoSource().plan(request_of(rows, size="large")).key,
    ]
    assert len({key, *others}) == 5
    assert PhotoSource().plan(request_of(rows, attempts=7)).key == key


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"size": "huge"}, "size"), ({"licences": ["CC-BYE"]}, "CC-BYE"), ({"sise": "medium"}, "sise")],
)
def test_wrong_settings_are_refused(settings: dict[str, object], said: str, request_of: Callable[..., Request]) -> None:
    with pytest.raises(InputError, match=said):
        PhotoSource().plan(request_of([("1", original(1))], **settings))


def test_a_request_without_a_table_says_so(request_of: Callable[..., Request]) -> None:
    request = request_of([("1", original(1))])
    object.__setattr__(request, "tables", {})
    with pytest.raises(MissingInputError, match="observations"):
        PhotoSource().plan(request)


def test_a_store_keeps_to_one_size(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(medium(1), reply(photo()))
    run(request_of([("1", original(1))]), web_of(), tmp_path / "out")
    with pytest.raises(InputError, match="medium"):
        run(request_of([("1", original(1))], size="large"), web_of(), tmp_path / "out")


def test_an_empty_table_is_a_fetch_of_nothing(
    tmp_path: Path, web_of: Callable[..., Web], request_of: Callable[..., Request]
) -> None:
    fetched, states = run(request_of([(None, None)]), web_of(), tmp_path / "out")
    assert len(states) == 0
    assert fetched.lost == {}


def test_a_damaged_list_of_wanted_photos_says_what_to_do(
    tmp_path: Path, web_of: Callable[..., Web], request_of: Callable[..., Request]
) -> None:
    request = request_of([("1", original(1))])
    request.folder.mkdir()
    (request.folder / "wanted.sqlite").write_bytes(b"no database " * 500)
    with pytest.raises(WorkspaceError, match="remove that file"):
        run(request, web_of(), tmp_path / "out")


@pytest.mark.parametrize("damage", ["no Parquet", "no column"])
def test_a_table_that_names_no_photos_is_refused(damage: str, request_of: Callable[..., Request]) -> None:
    request = request_of([("1", original(1))])
    table = request.tables["observations"]
    if damage == "no column":
        pd.DataFrame({"photo_id": ["1"]}).to_parquet(table)
    else:
        table.write_bytes(b"PAR1 no table")
    with pytest.raises(TableError, match="observations"):
        PhotoSource().plan(request)


@pytest.mark.parametrize("damage", ["longer", "gone"])
def test_a_changed_pack_costs_only_the_photos_that_it_lost(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
    damage: str,
) -> None:
    for k in range(1, 9):
        server.serve(medium(k), reply(photo(k)))
    server.serve(medium(9), reply(b"", 404))
    request, web = request_of([(str(k), original(k)) for k in range(1, 10)], pack_bytes=8000), web_of(connections=1)
    first = acquire_source(PhotoSource(), request, web)
    pack = tmp_path / "store" / "packs" / "photos-000001.tar"
    lost = [f"{BUCKET}/{name[0]}/medium.jpg" for name in names_of(pack)]
    assert 0 < len(lost) < 8
    if damage == "gone":
        pack.unlink()
    else:
        with pack.open("ab") as stream:
            stream.write(bytes(512))
    server.asked.clear()
    again = acquire_source(PhotoSource(), request, web)
    assert not again.reused
    assert (again.facts["held"], again.lost) == (8, {"gone": 1}) == (first.facts["held"], first.lost)
    expected = lost if damage == "gone" else []
    assert dict(server.asked) == {url.removeprefix("https:/"): 1 for url in expected}
