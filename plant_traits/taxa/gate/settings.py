"""The thresholds of the gate of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast, get_args

from plant_traits.errors import ModelError

Unknown = Literal["none", "species"]


@dataclass(frozen=True)
class GateSettings:
    """When a stated name is accepted, and at which rank.

    Every threshold is a share of observations whose name is right: the p-values of
    ``plant_traits.taxa.gate.calibration`` fall below α for at most a share α of them.

    Attributes:
        alpha: a photo contradicts the stated species, genus or growth form where its p-value there is below this. Of
            rightly named observations at most this share loses its species.
        strong_alpha: the photo contradicts a name that the votes confirm where the p-value is below this.
        open_set_alpha: a photo is unlike those of any known species where the p-value of its open-set score is below
            this. It is looked at where the model does not know the stated species.
        plant_alpha: a photo shows no plant where the p-value of its plant score is below this and no votes confirm a
            name.
        accept_voted: whether an observation whose votes agree on another name than the stated one is accepted under
            that name; otherwise it is set aside.
        unknown: what becomes of an observation of a species that the model does not know and whose photo is unlike
            those of the known ones: ``none`` sets it aside, ``species`` accepts it as stated.
    """

    alpha: float = 0.05
    strong_alpha: float = 0.005
    open_set_alpha: float = 0.05
    plant_alpha: float = 0.001
    accept_voted: bool = True
    unknown: Unknown = "none"

    def __post_init__(self) -> None:
        shares = (self.alpha, self.strong_alpha, self.open_set_alpha, self.plant_alpha)
        if not all(0 <= share < 1 for share in shares) or self.strong_alpha > self.alpha:
            raise ModelError(
                f"gate of names: expected shares from 0 to below 1, strong_alpha not above alpha, found {self}"
            )

    @classmethod
    def read(cls, told: Mapping[str, object]) -> GateSettings:
        """Return settings of which some are told by name, as JSON; the others are the default.

        Raises:
            ModelError: a name is none of a setting, or a value is not of its kind.
        """
        known = {x.name: x for x in fields(cls)}
        for name, value in told.items():
            default = known[name].default if name in known else None
            number = isinstance(default, float) and isinstance(value, int | float) and not isinstance(value, bool)
            word = name == "unknown" and value in get_args(Unknown)
            if not (number or word or (isinstance(default, bool) and isinstance(value, bool))):
                raise ModelError(
                    f"gate of names: expected values of {', '.join(known)}, found {name!r}: {value!r}; correct the "
                    "profile's names.gate"
                )
        return replace(cls(), **{name: cast(Any, value) for name, value in told.items()})

    @property
    def parameters(self) -> dict[str, object]:
        """The settings as JSON, for step keys."""
        return asdict(self)
