"""What a model said of records that neither its fit nor its stopping saw, before any calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Predictions for n held-out records of t traits, for each of m combinations of modalities, in working space.

    Attributes:
        rows: (n,) positions of the records in the training set.
        block: (n,) number of each record's spatial block.
        groups: (n,) each record's group, see ``plant_traits.model.calibration``.
        present: (m, n) whether a record has the modalities of that combination.
        mean: (m, n, t) predicted from exactly these modalities, NaN where not present.
        variance: (m, n, t) predicted total variance.
        centre: (n, t) measurement or median of the label, NaN where there is none.
        drawn: (n, t) measurement or one draw of the label.
        measured: (n, t) values measured on the plant itself, NaN where not.
    """

    rows: npt.NDArray[np.int64]
    block: npt.NDArray[np.int64]
    groups: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    mean: FloatArray
    variance: FloatArray
    centre: FloatArray
    drawn: FloatArray
    measured: FloatArray
