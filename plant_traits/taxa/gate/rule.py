"""The rule of the gate: stated name, votes and photo to a name that is accepted at a rank, with the reason.

In this order, each observation taking the first that applies:

1. Votes agree on the stated name: accepted at species, unless the photo contradicts it strongly.
2. Votes agree on another name: accepted under that name, unless the photo contradicts that strongly or the settings
   want such observations set aside.
3. The photo shows no plant: set aside.
4. The model knows the stated species: accepted at species where the photo does not contradict it; else at genus or at
   growth form, where the photo does not contradict these; else set aside.
5. The model does not know the species. The photo cannot contradict it at that rank. Where it is unlike the photos of
   any known species it says nothing of names at all, and the settings decide; where it contradicts the stated genus,
   the growth form is accepted if it holds; where it contradicts a growth form without a genus that holds, the
   observation is set aside; else it is accepted as stated.
6. Without a photo nothing speaks against the stated name, and it is accepted.

What is promised (``plant_traits.taxa.gate.calibration``): of rightly named observations without votes at most a share
``alpha`` loses its species to 4, ``alpha`` to 5's genus and ``plant_alpha`` to 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import TableError
from plant_traits.name_schemas import NAME_DECISION
from plant_traits.taxa.gate.cross_fitted import EVIDENCE
from plant_traits.taxa.gate.settings import GateSettings

BoolArray = npt.NDArray[np.bool_]

STATED = ("observation_id", "species", "genus", "growth_form")
VOTES = ("vote_name", "vote_valid", "vote_confidence")
OF_VOTED = "voted_"
"""Before the names of ``EVIDENCE``: what the photo says of the voted name."""

ACCEPTED_AT = ("species", "genus", "growth_form")
SET_ASIDE = "none"

PHOTO, OF_VOTES, BOTH, NO_EVIDENCE, COARSER = "photo", "votes", "votes_and_photo", "no_evidence", "coarser"
UNKNOWN_TO_MODEL, NOT_A_PLANT = "unknown_to_model", "not_a_plant"
CONTRADICTED_BY_VOTES, CONTRADICTED_BY_PHOTO = "contradicted_by_votes", "contradicted_by_photo"
REASONS = (
    PHOTO,
    OF_VOTES,
    BOTH,
    NO_EVIDENCE,
    COARSER,
    UNKNOWN_TO_MODEL,
    NOT_A_PLANT,
    CONTRADICTED_BY_VOTES,
    CONTRADICTED_BY_PHOTO,
)


def decide_names(observations: pd.DataFrame, settings: GateSettings) -> pd.DataFrame:
    """Decide on the name of each observation.

    Args:
        observations: a row each, columns ``STATED``, ``VOTES`` (vote_valid false and the others null where there are no
            votes), ``EVIDENCE`` of the stated name, and ``EVIDENCE`` of the voted name with ``OF_VOTED`` before
            p_species, p_genus and p_growth_form.
        settings: the thresholds.

    Returns:
        Columns ``NAME_DECISION``, index as given.

    Raises:
        TableError: a column is missing.
    """
    wanted = [*STATED, *VOTES, *EVIDENCE, *(OF_VOTED + name for name in EVIDENCE[:3])]
    missing = [name for name in wanted if name not in observations.columns]
    if missing:
        raise TableError(f"gate of names: columns {missing} are missing; found {list(observations.columns)}")
    stated = observations["species"]
    votes = _Votes(observations)
    photo = _Photo(observations, settings)
    voted = _Photo(observations, settings, OF_VOTED)

    rank = np.full(len(observations), "species", dtype=object)
    reason = np.full(len(observations), NO_EVIDENCE, dtype=object)
    open_rows = np.ones(len(observations), dtype=bool)

    def settle(rows: BoolArray, to_rank: str, why: str) -> None:
        chosen = rows & open_rows
        rank[chosen], reason[chosen] = to_rank, why
        open_rows[chosen] = False

    confirmed = votes.agree & ~photo.contradicts_strongly
    settle(confirmed & photo.holds_species, "species", BOTH)
    settle(confirmed, "species", OF_VOTES)
    taken = votes.differ & ~voted.contradicts_strongly & settings.accept_voted
    settle(taken & voted.holds_species, "species", BOTH)
    settle(taken, "species", OF_VOTES)
    settle(votes.differ, SET_ASIDE, CONTRADICTED_BY_VOTES)
    settle(photo.no_plant, SET_ASIDE, NOT_A_PLANT)
    settle(photo.holds_species, "species", PHOTO)
    against = photo.against_species
    settle(against & photo.holds_genus, "genus", COARSER)
    settle(against & photo.holds_form, "growth_form", COARSER)
    settle(against, SET_ASIDE, CONTRADICTED_BY_PHOTO)
    # From here on the model does not know the species, or there is no photo.
    settle(photo.unfamiliar, "species" if settings.unknown == "species" else SET_ASIDE, UNKNOWN_TO_MODEL)
    settle(photo.against_genus & photo.holds_form, "growth_form", COARSER)
    settle(photo.against_genus | (photo.against_form & ~photo.holds_genus), SET_ASIDE, CONTRADICTED_BY_PHOTO)

    renamed = taken & (rank == "species")
    names = {
        "species": stated.mask(renamed, observations["vote_name"]),
        "genus": observations["genus"],
        "growth_form": observations["growth_form"],
    }
    name = pd.Series(pd.NA, index=observations.index, dtype="str")
    for at, values in names.items():
        name = name.mask(rank == at, values.astype("str"))
    doubted = (rank != "species") & observations["best"].notna() & (observations["best"] != stated)
    suggested = observations["best"].where(doubted).mask(votes.differ, observations["vote_name"])
    table = pd.DataFrame(
        {
            "observation_id": observations["observation_id"],
            "stated": stated,
            "rank": rank,
            "name": name,
            "reason": reason,
            "suggested": suggested,
            "vote_name": observations["vote_name"],
            "vote_valid": observations["vote_valid"],
            "vote_confidence": observations["vote_confidence"],
            "p_species": observations["p_species"],
            "p_genus": observations["p_genus"],
            "p_growth_form": observations["p_growth_form"],
            "open_set": observations["open_set"],
        },
        index=observations.index,
    )
    decided: pd.DataFrame = table[NAME_DECISION.names]
    return decided


class _Votes:
    """What the votes say of a species; votes for no more than a genus say nothing of it."""

    def __init__(self, rows: pd.DataFrame) -> None:
        of_species = rows["vote_name"].str.contains(" ", regex=False, na=False).to_numpy(dtype=bool)
        valid = rows["vote_valid"].fillna(value=False).to_numpy(dtype=bool) & of_species
        same = (rows["vote_name"] == rows["species"]).fillna(value=False).to_numpy(dtype=bool)
        self.agree: BoolArray = valid & same
        self.differ: BoolArray = valid & ~same


class _Photo:
    """What the photo says of a name, by the settings' thresholds; nothing where there is no photo."""

    def __init__(self, rows: pd.DataFrame, settings: GateSettings, prefix: str = "") -> None:
        p = {name: rows[prefix + name].to_numpy(dtype=np.float64) for name in EVIDENCE[:3]}
        species, genus, form = p["p_species"], p["p_genus"], p["p_growth_form"]
        # Comparisons with NaN are false: what is not known neither holds nor speaks against.
        self.holds_species: BoolArray = species >= settings.alpha
        self.holds_genus: BoolArray = genus >= settings.alpha
        self.holds_form: BoolArray = form >= settings.alpha
        self.against_species: BoolArray = species < settings.alpha
        self.against_genus: BoolArray = genus < settings.alpha
        self.against_form: BoolArray = form < settings.alpha
        finest = np.where(np.isnan(species), genus, species)
        self.contradicts_strongly: BoolArray = finest < settings.strong_alpha
        if not prefix:
            self.no_plant: BoolArray = rows["p_plant"].to_numpy(dtype=np.float64) < settings.plant_alpha
            self.unfamiliar: BoolArray = rows["p_open_set"].to_numpy(dtype=np.float64) < settings.open_set_alpha
