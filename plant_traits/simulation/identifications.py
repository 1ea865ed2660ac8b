"""Who else names the plants of a virtual iNaturalist: a few who know them, many who guess, and some who do neither.

The crowd sees the plant, not its stated name. Its people are the observers of the world's first month. Everything about
a vote follows from the seed, the observation's number and the vote's place in its row, so that a later month has the
same votes and those that were given since; only an observation that was renamed has its observer's new name, and those
who follow him. An observer who was told better may take up the new name; the record that others publish of his
observation still has the old one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Moments = npt.NDArray[np.datetime64]

COLUMNS = (
    "observation", "identification", "user", "name", "current", "own", "disagreement", "previous", "created",
)  # fmt: skip

_EXPERTS, _SPAMMERS = 0.06, 0.02  # of the people
_BY_EXPERTS, _BY_SPAMMERS = 0.4, 0.01  # of the votes
_SKILL = {"expert": 0.97, "novice": 0.75}
_FOLLOWS = 0.5  # chance that who errs repeats a wrong name that is there
_CORRECTED = 0.5  # observers who take up the name of one who knows better, or seems to
_GENUS_ONLY = {"expert": 0.02, "novice": 0.07}
_OBJECTS = 0.5  # chance that who gives the genus of another species says that he disagrees with that
_SECOND_THOUGHTS = 0.03  # observers who first gave another name
_ATTENTION = 0.6  # chance that a wrong name draws one vote more
_NUMBER_OF_VOTES = (0.14, 0.38, 0.28, 0.13, 0.05, 0.02)  # by others: none to five
_LAG_DAYS = 25.0
_ALIKE = 3


@dataclass(frozen=True)
class Seen:
    """Observations as a crowd meets them, one array element each.

    Attributes:
        number: of the observation.
        user: number of its observer.
        stated: the name that it is filed under.
        true: the species that it shows.
        day: when it was made; not a time where unknown.
    """

    number: IntArray
    user: IntArray
    stated: npt.NDArray[np.object_]
    true: npt.NDArray[np.object_]
    day: Moments


def simulate_identifications(
    seen: Seen, species: pd.DataFrame, people: IntArray, seed: int, first_day: np.datetime64, until: np.datetime64
) -> pd.DataFrame:
    """Let a crowd identify observations.

    Args:
        seen: the observations.
        species: columns ``species``, ``genus`` and ``family``, one row per species, the more common ones first.
        people: numbers of the users who may identify what others observed, the same in every month.
        seed: of the world.
        first_day: of the world's first month, in which observations without a possible day were made.
        until: identifications from this day on have not been given yet.

    Returns:
        Columns ``COLUMNS``, in order of observation and time: numbers of observation, identification and user; name of
        a species or genus; whether it stands, is the observer's, and disagrees with what the observation was filed
        under before; that name, null for the first; and the moment.
    """
    day = seen.day.astype("datetime64[D]")
    made = np.where(np.isnat(day) | (day >= until), first_day, day).astype("datetime64[s]")
    own = _of_observers(seen, species, seed, made)
    others = _of_others(seen, species, people, seed, made)
    given = pd.concat([own, others, _taken_up(seen, others, seed)], ignore_index=True)
    given = given[given["created"] < until].sort_values(["observation", "created", "identification"], ignore_index=True)
    last = ~given.duplicated(["observation", "user"], keep="last")
    return given.assign(current=given["current"] & last)[list(COLUMNS)]


def _of_observers(seen: Seen, species: pd.DataFrame, seed: int, made: Moments) -> pd.DataFrame:
    """Return the observers' own identifications, and the withdrawn ones of those who had second thoughts."""
    now = _frame(seen, np.arange(len(seen.number)), 1, made + np.timedelta64(20, "m"))
    now = now.assign(user=seen.user, name=seen.stated, own=True, previous=None, disagreement=None)
    genus = species.set_index("species")["genus"]
    earlier = genus.reindex(seen.stated).to_numpy(dtype=object)
    rows = np.flatnonzero((uniforms(seed, seen.number, 0, "second thoughts") < _SECOND_THOUGHTS) & pd.notna(earlier))
    before = now.iloc[rows].assign(name=earlier[rows], current=False)
    before["created"] -= np.timedelta64(10, "m")
    before["identification"] -= 1
    now.loc[rows, "previous"], now.loc[rows, "disagreement"] = earlier[rows], False
    return pd.concat([before, now], ignore_index=True)


def _of_others(seen: Seen, species: pd.DataFrame, people: IntArray, seed: int, made: Moments) -> pd.DataFrame:
    """Return the identifications by others, votes of an observation one after the other."""
    names = pd.Index(species["species"])
    genus = species["genus"].to_numpy(dtype=object)
    code = {"true": names.get_indexer(pd.Index(seen.true)), "stated": names.get_indexer(pd.Index(seen.stated))}
    number_of = np.searchsorted(np.cumsum(_NUMBER_OF_VOTES)[:-1], uniforms(seed, seen.number, 0, "votes"))
    number_of += (code["true"] != code["stated"]) & (uniforms(seed, seen.number, 0, "attention") < _ATTENTION)
    number_of[code["true"] < 0] = 0  # nobody else cares for birds
    row = np.repeat(np.arange(len(seen.number)), number_of)
    place = np.arange(len(row)) - np.repeat(np.cumsum(number_of) - number_of, number_of)

    def draw(what: str) -> FloatArray:
        return uniforms(seed, seen.number[row], place + 1, what)

    kind = _kinds(draw("kind"))
    user = _who(kind, draw("who"), people, seed)
    true, stated = code["true"][row], code["stated"][row]
    alike = _look_alikes(species)[true, (_ALIKE * draw("alike") ** 2).astype(np.int64)]
    follows = (stated >= 0) & (stated != true) & (draw("follows") < _FOLLOWS)
    wrong = np.where(follows, stated, alike)
    expert, spammer = kind == "expert", kind == "spammer"
    skill = np.where(expert, _SKILL["expert"], _SKILL["novice"])
    chosen = np.where(draw("skill") < skill, true, wrong)
    chosen = np.where(spammer, (draw("spam") * len(names)).astype(np.int64), chosen)
    coarse = ~spammer & (draw("genus") < np.where(expert, _GENUS_ONLY["expert"], _GENUS_ONLY["novice"]))
    name = np.where(coarse, genus[chosen], names.to_numpy(dtype=object)[chosen])
    same_genus = (stated >= 0) & (genus[chosen] == genus[stated])
    objects = (chosen != stated) & (~same_genus | (draw("objects") < _OBJECTS))
    days = -_LAG_DAYS * np.log1p(-draw("days")) * (1 + place)
    moment = made[row] + np.timedelta64(30, "m") + (days * 86_400).astype(np.int64).astype("timedelta64[s]")
    given = _frame(seen, row, place + 2, moment)
    given = given.assign(
        user=user,
        name=name,
        own=False,
        disagreement=np.where(coarse, objects, chosen != stated).astype(object),
        previous=seen.stated[row],
    )
    given["expert"] = expert & ~coarse & (chosen != stated)
    by_another: pd.DataFrame = given[user != seen.user[row]]
    return by_another


def _taken_up(seen: Seen, others: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the second identifications of observers who were told another name by one who knows plants."""
    told = others[others["expert"]].drop_duplicates("observation")
    told = told[uniforms(seed, told["observation"].to_numpy(), 0, "corrected") < _CORRECTED]
    observer = told["observation"].map(pd.Series(seen.user, index=seen.number))
    return told.assign(
        identification=told["observation"] * 10 + 8,
        user=observer.to_numpy(np.int64),
        own=True,
        disagreement=True,
        created=told["created"] + np.timedelta64(2, "D"),
    )


def _frame(seen: Seen, row: IntArray, place: IntArray | int, created: npt.NDArray[np.datetime64]) -> pd.DataFrame:
    number = seen.number[row]
    return pd.DataFrame(
        {"observation": number, "identification": number * 10 + place, "current": True, "created": created}
    )


def _kinds(draw: FloatArray) -> npt.NDArray[np.object_]:
    kind = np.full(len(draw), "novice", dtype=object)
    kind[draw < _BY_EXPERTS] = "expert"
    kind[draw > 1 - _BY_SPAMMERS] = "spammer"
    return kind


def _who(kind: npt.NDArray[np.object_], draw: FloatArray, people: IntArray, seed: int) -> IntArray:
    """Choose the user of each vote among those of its kind, the busy ones more often."""
    rng = stream(seed, "identifiers")
    order = rng.permutation(len(people))
    busy = rng.lognormal(0.0, 1.0, len(people))
    n_experts = max(3, round(_EXPERTS * len(people)))
    n_spammers = max(1, round(_SPAMMERS * len(people)))
    members = {
        "expert": order[:n_experts],
        "spammer": order[n_experts : n_experts + n_spammers],
        "novice": order[n_experts + n_spammers :],
    }
    user = np.zeros(len(kind), dtype=np.int64)
    for name, pool in members.items():
        votes = kind == name
        edge = np.cumsum(busy[pool])
        user[votes] = people[pool[np.searchsorted(edge / edge[-1], draw[votes], side="right").clip(0, len(pool) - 1)]]
    return user


def _look_alikes(species: pd.DataFrame) -> IntArray:
    """Return for each species the rows of those it is taken for: of its genus, then its family, the common ones first.

    Shape (species, 3).
    """
    n = len(species)
    out = np.tile(np.arange(n)[:, None], (1, _ALIKE))
    genus, family = (pd.factorize(species[name])[0] for name in ("genus", "family"))
    for k in range(n):
        kin = (genus == genus[k]).astype(np.int64) + (family == family[k])
        kin[k] = -1
        out[k] = np.resize(np.argsort(-kin, kind="stable")[: min(_ALIKE, n - 1)], _ALIKE)
    return out


def uniforms(seed: int, number: IntArray, place: IntArray | int, what: str) -> FloatArray:
    """Return a number from 0 to 1 for each observation and place, the same in every month (SplitMix64)."""
    start = np.uint64(int(stream(seed, "identifications", what).integers(0, 2**63)))
    with np.errstate(over="ignore"):
        x = start + np.asarray(number).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = x + np.asarray(place).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x = x ^ (x >> np.uint64(31))
    return np.asarray((x >> np.uint64(11)).astype(np.float64) / 2**53)
