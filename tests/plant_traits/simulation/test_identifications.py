"""The virtual crowd: mostly right, often correcting what is wrong, and the same from month to month."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from plant_traits.simulation.identifications import COLUMNS, Seen, simulate_identifications, uniforms

FIRST, END = np.datetime64("2026-10-01"), np.datetime64("2026-11-01")
N = 4000
SPECIES = pd.DataFrame(
    {
        "species": [f"Genus{k // 4} epithet{k}" for k in range(40)],
        "genus": [f"Genus{k // 4}" for k in range(40)],
        "family": [f"Family{k // 8}" for k in range(40)],
    }
)
PEOPLE = np.arange(1000, 1000 + 7 * 200, 7)


@pytest.fixture(scope="module")
def seen() -> Seen:
    rng = np.random.default_rng(3)
    names = SPECIES["species"].to_numpy(object)
    true = rng.integers(0, 40, N)
    stated = np.where(rng.random(N) < 0.1, (true + 1) % 40, true)
    days = np.datetime64("2024-01-01") + rng.integers(0, 1030, N)
    return Seen(180_000 + 3 * np.arange(N), rng.choice(PEOPLE, N), names[stated], names[true], days)


def given(seen: Seen, until: np.datetime64 = END, seed: int = 20) -> pd.DataFrame:
    return simulate_identifications(seen, SPECIES, PEOPLE, seed, FIRST, until)


@pytest.fixture(scope="module")
def crowd(seen: Seen) -> pd.DataFrame:
    return given(seen)


def test_the_observer_comes_first_with_the_stated_name(seen: Seen, crowd: pd.DataFrame) -> None:
    assert tuple(crowd.columns) == COLUMNS
    own = crowd[crowd["own"]]
    assert set(own["user"]) <= set(seen.user)
    observer = pd.Series(seen.user, index=seen.number)
    assert (own["user"] == own["observation"].map(observer)).all()
    assert (crowd[~crowd["own"]]["user"] != crowd[~crowd["own"]]["observation"].map(observer)).all()
    first = own[own["identification"] % 10 == 1].set_index("observation")["name"]
    assert first.to_dict() == dict(zip(seen.number, seen.stated, strict=True))
    assert crowd["identification"].is_unique
    assert crowd.groupby("observation")["created"].is_monotonic_increasing.all()


def test_most_observations_have_two_to_four_votes_and_some_one(crowd: pd.DataFrame) -> None:
    votes = crowd[crowd["current"]].groupby("observation").size()
    assert votes.between(2, 4).mean() > 0.6
    assert 0.08 < (votes == 1).mean() < 0.3
    assert votes.max() <= 8
    assert not crowd[crowd["current"]].duplicated(["observation", "user"]).any()


def test_others_are_mostly_right_and_often_correct_a_wrong_name(seen: Seen, crowd: pd.DataFrame) -> None:
    true = pd.Series(seen.true, index=seen.number)
    stated = pd.Series(seen.stated, index=seen.number)
    others = crowd[~crowd["own"] & crowd["name"].str.contains(" ")]
    right = others["name"] == others["observation"].map(true)
    wrong = others["observation"].map(stated != true)
    assert right[~wrong].mean() == pytest.approx(0.82, abs=0.04)
    assert 0.7 < right[wrong].mean() < 0.95
    told = others[wrong & right]["observation"].nunique() / (stated != true).sum()
    assert 0.7 < told < 0.97  # some are never corrected
    coarse = crowd[~crowd["name"].str.contains(" ") & ~crowd["own"]]
    assert set(coarse["name"]) <= set(SPECIES["genus"])
    assert coarse["disagreement"].astype(bool).any() and not coarse["disagreement"].astype(bool).all()


def test_a_later_month_adds_to_what_was_said(seen: Seen, crowd: pd.DataFrame) -> None:
    later = given(seen, np.datetime64("2026-12-01"))
    assert len(later) > len(crowd)
    kept = later[later["identification"].isin(crowd["identification"])].drop(columns="current")
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), crowd.drop(columns="current"))
    assert (later["created"] < np.datetime64("2026-12-01")).all() and (crowd["created"] < END).all()


def test_votes_of_an_observation_do_not_depend_on_the_others(seen: Seen, crowd: pd.DataFrame) -> None:
    part = np.arange(0, N, 7)
    some = Seen(*(getattr(seen, name)[part] for name in ("number", "user", "stated", "true", "day")))
    expected = crowd[crowd["observation"].isin(some.number)].reset_index(drop=True)
    pd.testing.assert_frame_equal(given(some), expected)
    assert not given(some, seed=21).equals(expected)


def test_a_new_name_changes_its_own_observation_only(seen: Seen, crowd: pd.DataFrame) -> None:
    stated = seen.stated.copy()
    stated[5] = "Genus9 epithet39"
    renamed = given(replace(seen, stated=stated))
    number = seen.number[5]
    rest = renamed[renamed["observation"] != number].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, crowd[crowd["observation"] != number].reset_index(drop=True))
    assert renamed.set_index("identification").loc[number * 10 + 1, "name"] == "Genus9 epithet39"


def test_birds_and_impossible_days_have_the_observer_alone_and_the_first_month() -> None:
    birds = Seen(
        np.array([10, 20]),
        np.array([1000, 1007]),
        np.array(["Cardinalis cardinalis"] * 2, dtype=object),
        np.array(["Cardinalis cardinalis"] * 2, dtype=object),
        np.array(["NaT", "2030-01-01"], dtype="datetime64[D]"),
    )
    found = given(birds)
    assert found["own"].all() and len(found) == 2
    assert (found["created"].dt.date == pd.Timestamp("2026-10-01").date()).all()


def test_uniforms_are_uniform_and_apart() -> None:
    number = np.arange(20_000)
    one, other = (uniforms(1, number, 0, what) for what in ("kind", "who"))
    assert np.histogram(one, 10, (0, 1))[0].min() > 1800
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.03
    assert np.array_equal(uniforms(1, number[::-1], 0, "kind")[::-1], one)
    assert not np.array_equal(uniforms(1, number, 1, "kind"), one)
