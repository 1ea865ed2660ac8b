"""The declared Arrow schemas of the tables that pass between votes, names of votes and the gate of names."""

from __future__ import annotations

from plant_traits.schemas import declare

VOTES = "votes.parquet"
"""File of ``VOTED_NAME`` in the output of a step."""

NAME_VOTE = declare(  # a name that a user gave to an observation
    observation_id="string",
    user="string",
    taxon="string",
    author="bool",  # whether the user made the observation
    sequence="int64",  # only its order counts: of a user's votes on an observation, the latest
    disagreement="bool",  # the user said that a finer name is wrong; null where unknown
    disagrees_with="string",  # that finer name; null where unknown or none
)

RULE_DECISION = declare(  # what a rule makes of an observation's votes
    observation_id="string",
    name="string",  # null where the votes give none
    rank="string",  # of the name; null where the rule knows no ranks
    confidence="float64",  # weight of the votes for the name
    accuracy="float64",  # share of that in the weight of all votes
    valid="bool",  # whether the rule accepts the name
    n_votes="int64",
    reason="string",  # why not valid
)

VOTER = declare(  # what the Pl@ntNet rule makes of a user
    user="string",
    n_author="int64",  # distinct species of valid observations of his own that he named as all did
    n_vote="int64",  # distinct further species that he named as all did on observations of others
    weight="float64",
)

VOTED_NAME = declare(  # what the votes of a run's observation say, of each that has some
    observation_id="string",
    name="string",  # an accepted name; null where the votes give none
    valid="bool",  # whether the rule accepts the name
    confidence="float64",  # weight of the votes for the name, in the rule's own unit
    accuracy="float64",  # share of that in the weight of all votes
    n_votes="int32",
    reason="string",  # why not valid; null where it is
)

NAME_DECISION = declare(  # what the gate of names makes of a live observation of a shard
    observation_id="string",
    stated="string",  # species as stated
    rank="string",  # species, genus, growth_form, or none where it is set aside
    name="string",  # accepted at that rank; null where it is set aside
    reason="string",
    suggested="string",  # what votes or model say instead; null where they say nothing else
    vote_name="string",
    vote_valid="bool",
    vote_confidence="float64",
    p_species="float64",  # conformal p-value of the stated name at that rank; NaN where unknown
    p_genus="float64",
    p_growth_form="float64",
    open_set="float64",  # score that tells known species from unknown ones
)
