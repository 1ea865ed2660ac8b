"""Which rule makes names of votes, and its options: what a run's settings choose from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import pandas as pd

from plant_traits.errors import InputError
from plant_traits.taxa.votes.agreement import majority_names, two_thirds_names, worker_agreement_names
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.community_rule import community_names
from plant_traits.taxa.votes.plantnet_rule import OVERRULING_SPECIES, plantnet_names
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_table import VoteTable

RuleKind = Literal["plantnet", "community", "majority", "two_thirds", "worker_agreement"]

_OF_ONE_PASS = {"majority": majority_names, "two_thirds": two_thirds_names, "worker_agreement": worker_agreement_names}


@dataclass(frozen=True)
class VoteRule:
    """A rule that makes names of votes; the default is what the gate of names uses.

    Attributes:
        kind: Pl@ntNet's rule, iNaturalist's community rule, most votes, two thirds of them, or votes weighed by
            agreement with the most.
        overruling_species: of Pl@ntNet's rule: see ``plantnet_names``; 0 is the rule as published.
        ai: of Pl@ntNet's rule: what a model's votes count for.
    """

    kind: RuleKind = "plantnet"
    overruling_species: int = OVERRULING_SPECIES
    ai: AiOption = field(default_factory=AiOption)

    def __post_init__(self) -> None:
        if self.kind not in get_args(RuleKind):
            raise InputError(f"rule of votes: expected one of {', '.join(get_args(RuleKind))}, found {self.kind!r}")
        if self.overruling_species < 0:
            raise InputError(f"rule of votes: expected 0 species or more to overrule, found {self.overruling_species}")
        if self.kind != "plantnet" and self.ai.mode != "ignored":
            raise InputError(f"rule of votes: a model's votes count in Pl@ntNet's rule only, found {self.kind!r}")

    @property
    def parameters(self) -> dict[str, object]:
        """The rule as JSON, for step keys."""
        return asdict(self)

    @property
    def needs_taxonomy(self) -> bool:
        """Whether votes for taxa of every rank count, and so their tree is needed."""
        return self.kind == "community"

    def names(self, votes: VoteTable, taxonomy: Taxonomy | None = None) -> pd.DataFrame:
        """Name the observations of a table, columns ``RULE_DECISION``.

        Raises:
            InputError: the rule needs a taxonomy or a model's votes, and there are none.
            TableError: the taxonomy lacks a name that was voted for.
        """
        if self.kind == "plantnet":
            return plantnet_names(votes, self.ai, overruling_species=self.overruling_species).decisions
        if self.kind != "community":
            return _OF_ONE_PASS[self.kind](votes)
        if taxonomy is None:
            raise InputError(
                "rule of votes: the community's rule climbs a taxonomy, found none; give the table of taxa"
            )
        return community_names(votes, taxonomy)
