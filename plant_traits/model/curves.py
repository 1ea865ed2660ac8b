"""Learning curves: what each epoch of each member of an ensemble came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

Round = Literal["first", "refit"]

LEARNING_CURVE = pa.schema(
    {
        "member": pa.int32(),
        "round": pa.string(),
        "epoch": pa.int32(),
        "learning_rate": pa.float64(),
        "loss": pa.float64(),
        "held_out_loss": pa.float64(),
        "trait": pa.string(),
        "rmse": pa.float64(),
        "pearson_r": pa.float64(),
    }
)
"""Columns of the frame that ``gather_curves`` returns, one row per member, round, epoch and trait."""


@dataclass(frozen=True)
class EpochScores:
    """What one epoch of one member came to. No times: the same training leaves the same scores.

    Attributes:
        member: number of the member, from 0.
        round: ``first``, stopped by held-out rows, or ``refit``, for a number of epochs known beforehand.
        epoch: from 1.
        learning_rate: of the epoch's first step.
        loss: mean negative log-likelihood of the epoch's batches, of standardised targets.
        held_out_loss: that of the stopping rows after the epoch; NaN without any.
        rmse: trait -> root mean square difference, in working space, between what is predicted of the stopping rows
            from all their inputs and their measurement or species median; NaN where there is none.
        pearson_r: trait -> correlation of the two; NaN where either does not vary.
    """

    member: int
    round: Round
    epoch: int
    learning_rate: float
    loss: float
    held_out_loss: float
    rmse: dict[str, float]
    pearson_r: dict[str, float]


def gather_curves(histories: Sequence[Sequence[EpochScores]]) -> pd.DataFrame:
    """Gather the epochs of members in one long table.

    Args:
        histories: the epochs of each member.

    Returns:
        The columns of ``LEARNING_CURVE``, in the order of the members, epochs and traits; the losses and the learning
        rate repeat for every trait of an epoch.
    """
    rows = [
        (
            scores.member,
            scores.round,
            scores.epoch,
            scores.learning_rate,
            scores.loss,
            scores.held_out_loss,
            trait,
            scores.rmse[trait],
            scores.pearson_r[trait],
        )
        for scores in chain.from_iterable(histories)
        for trait in scores.rmse
    ]
    frame = pd.DataFrame(rows, columns=LEARNING_CURVE.names)
    types = {pa.int32(): np.int32, pa.string(): object, pa.float64(): np.float64}
    return frame.astype({field.name: types[field.type] for field in LEARNING_CURVE})
