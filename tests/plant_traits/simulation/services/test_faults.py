"""Faults are decided by a hash, never more than three in a row, and go on where a log ends."""

from __future__ import annotations

import pytest

from plant_traits.simulation.services.faults import MOST_IN_A_ROW, Faults, faults_of
from plant_traits.simulation.services.request_log import Asked

HOST = "files.example"


def decide_many(faults: Faults, path: str, count: int) -> list[str]:
    return [faults.decide("GET", HOST, path) for _ in range(count)]


def test_same_seed_and_requests_meet_the_same_faults_in_any_order() -> None:
    one, two = Faults(0.4, 7), Faults(0.4, 7)
    a, b = decide_many(one, "/a", 50), decide_many(one, "/b", 50)
    assert (decide_many(two, "/b", 50), decide_many(two, "/a", 50)) == (b, a)
    assert any(a)
    assert a != b
    assert decide_many(Faults(0.4, 8), "/a", 50) != a


def test_no_more_than_three_in_a_row_fail_even_if_all_should() -> None:
    found = decide_many(Faults(1.0, 1), "/a", 40)
    assert [bool(x) for x in found] == [True, True, True, False] * 10
    assert MOST_IN_A_ROW == 3


def test_share_of_requests_that_fail_is_the_share_asked_for() -> None:
    faults = Faults(0.1, 3)
    failed = sum(bool(faults.decide("GET", HOST, f"/{k}")) for k in range(20_000))
    assert failed == pytest.approx(2000, abs=4 * (20_000 * 0.1 * 0.9) ** 0.5)


def test_without_faults_nothing_fails() -> None:
    assert not any(decide_many(Faults(0.0, 1), "/a", 100))


def test_goes_on_where_the_log_ends() -> None:
    whole = decide_many(Faults(0.5, 5), "/a", 30)
    past = [Asked(0.0, HOST, "GET", "/a", fault=fault) for fault in whole[:11]]
    past.insert(4, Asked(0.0, HOST, "GET", "/a", over_rate=True))  # refused before faults were thought of
    assert decide_many(Faults(0.5, 5, past), "/a", 19) == whole[11:]


def test_what_changes_something_fails_only_in_ways_that_can_be_made_good() -> None:
    refused = {"429-seconds", "429-date", "429", "503"}
    assert set(faults_of("POST", "api.gbif.org", "/v1/derivedDataset")) == refused
    assert set(faults_of("POST", "api.gbif.org", "/v1/occurrence/download/request")) == refused | {"lost"}
    assert not {"cut", "slow", "long"} & set(faults_of("HEAD", HOST, "/a"))


def test_a_length_that_is_too_small_is_told_only_where_the_true_one_is_known() -> None:
    assert "short" in faults_of("GET", "occurrence-download.gbif.org", "/occurrence/download/request/1.zip")
    assert "short" not in faults_of("GET", "api.gbif.org", "/v1/occurrence/search")
    assert "short" not in faults_of("GET", "inaturalist-open-data.s3.amazonaws.com", "/photos/1/medium.jpg")
