"""How the vote of an identification model counts in Pl@ntNet's rule.

Lefort et al. (2025) name the options and give the weight 1.7 to a model; their public library says in words what each
does. Where both are silent, what is done here is said below.

- ``ignored``: the model has no vote.
- ``fixed``: the model votes on every observation that it names, with the same weight always. It earns no weight, and
  what it names does not count as a species of anybody. With 1.7 it validates no observation alone, as 2 is needed, but
  does together with one newcomer; and it keeps two newcomers who agree against it from validating theirs.
- ``invalidating``: the model proposes no name and adds no confidence; where its name is not the users', its weight
  joins the weight of all votes, so that accuracy falls. Where it agrees nothing changes. (Silent: whether a model that
  agrees may lower accuracy; here it may not.)
- ``confident``: as ``fixed``, but only on observations where the model's probability reaches a threshold. (Silent: a
  model without a stated probability; here it has no vote there. No threshold is taken for granted.)

In every option an observation is one that users voted on: a model alone gives no name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plant_traits.errors import InputError

AI_WEIGHT = 1.7


@dataclass(frozen=True)
class AiOption:
    """What a model's vote counts for.

    Attributes:
        mode: see the module's description.
        weight: weight of the model's vote.
        threshold: least probability with which a ``confident`` model votes.
    """

    mode: Literal["ignored", "fixed", "invalidating", "confident"] = "ignored"
    weight: float = AI_WEIGHT
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in {"ignored", "fixed", "invalidating", "confident"}:
            raise InputError(f"AI votes: expected ignored, fixed, invalidating or confident, found {self.mode!r}")
        if not 0 < self.weight <= 1000:
            raise InputError(f"AI votes: expected a weight above 0 and up to 1000, found {self.weight}")
        if (self.mode == "confident") != (self.threshold is not None):
            raise InputError("AI votes: give a threshold with the mode confident, and only with it")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"AI votes: expected a threshold from 0 to 1, found {self.threshold}")
