"""Conformal p-values of names: how often a rightly named observation fits its photo as badly as this one.

With the conformity c of a name to a photo (larger fits better) and the conformities of n held-out observations under
their own names, p = (1 + number of those that are at most c) / (n + 1). If the observation is rightly named and
exchangeable with the held-out ones, p is below α with a probability of at most α [Vovk et al. 2005]. Held-out
observations whose own name is wrong fit worse, so that they make p larger for the others: errors among them cost power,
never the promise.

At species and genus c is the posterior over the training frequency, prevalence-adjusted as the scores of
``plant_traits.taxa.prediction_sets``, so that rare species are not refused for being rare; at growth form it is the
posterior. Of a species that the model does not know, genus and growth form are compared with those of held-out
observations whose species it does not know either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]

SPECIES, OPEN_SET, PLANT = "species", "open_set", "plant"
GENUS, GROWTH_FORM = "genus", "growth_form"
OF_UNKNOWN = "_of_unknown"
"""Added to a rank's name: conformities of observations whose species the model does not know."""

KINDS = (SPECIES, GENUS, GROWTH_FORM, GENUS + OF_UNKNOWN, GROWTH_FORM + OF_UNKNOWN, OPEN_SET, PLANT)


@dataclass(frozen=True)
class GateCalibration:
    """Conformities of held-out observations, sorted, by one of ``KINDS``; an absent one has none.

    Attributes:
        conformities: sorted ascending, finite.
    """

    conformities: Mapping[str, FloatArray]

    def p_values(self, kind: str, conformity: FloatArray) -> FloatArray:
        """Return p-values, (n,), NaN where the conformity is NaN.

        With fewer than 1/α - 1 held-out observations no p-value is below α, and nothing is refused.

        Args:
            kind: one of ``KINDS``.
            conformity: (n,), NaN where there is none.
        """
        held = self.conformities.get(kind, np.zeros(0))
        below = np.searchsorted(held, np.nan_to_num(conformity, nan=np.inf), side="right")
        p = (1.0 + below) / (1.0 + len(held))
        return np.where(np.isnan(conformity), np.nan, p)


def fit_calibration(conformities: Mapping[str, FloatArray]) -> GateCalibration:
    """Keep conformities of held-out observations under their own names.

    Args:
        conformities: (n,) by one of ``KINDS``; NaN where an observation has none.

    Raises:
        ModelError: a kind is unknown, or a conformity is infinite.
    """
    unknown = sorted(set(conformities) - set(KINDS))
    endless = [kind for kind, values in conformities.items() if np.isinf(values).any()]
    if unknown or endless:
        raise ModelError(
            f"gate of names: expected finite conformities of {', '.join(KINDS)}, found the kinds {unknown} and "
            f"infinite ones of {endless}; train the names model again"
        )
    kept = {kind: np.sort(values[~np.isnan(values)].astype(np.float64)) for kind, values in conformities.items()}
    return GateCalibration(kept)
