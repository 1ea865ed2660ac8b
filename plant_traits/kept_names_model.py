"""The names model that the runs of a lineage keep, by which the gate of names judges their observations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plant_traits.kept_pointer import Find, entry, read_pointer, write_pointer
from plant_traits.steps import Artifact
from plant_traits.workspace import Workspace

KEPT_NAMES = "names-models"

logger = logging.getLogger("plant_traits.run")


@dataclass(frozen=True)
class KeptNamesModel:
    """A names model, and what a run must have in common with it.

    Attributes:
        model: output of ``train_names_on_shards`` or ``train_names_on_images``.
        run: name of the run that trained it.
        month: month of that run's records; None where it was trained on a set of labelled images.
        fits: what was asked of it: the photo encoder, as JSON by name.
    """

    model: Artifact
    run: str
    month: str | None
    fits: Mapping[str, Any]

    @property
    def model_id(self) -> str:
        """Hash of the model's weights and calibration."""
        return str(self.model.summary["model_id"])

    @property
    def told(self) -> str:
        """Which model it is and what it was trained on, in a sentence."""
        on = "a set of labelled images" if self.month is None else f"the records up to {self.month}"
        return f"Names were judged with the names model {self.model_id}, trained in the run {self.run} on {on}."


def keep_names_model(workspace: Workspace, lineage: str, kept: KeptNamesModel) -> None:
    """Write ``names-models/<lineage>.json``, the pointer that later runs of the lineage follow, in one step."""
    content = {
        "run": kept.run,
        "month": kept.month,
        "model_id": kept.model_id,
        "model": entry(kept.model),
        "fits": kept.fits,
    }
    write_pointer(workspace, KEPT_NAMES, lineage, content)


def find_kept_names(workspace: Workspace, lineage: str) -> KeptNamesModel | None:
    """Return the names model that the lineage keeps; None where there is none, or where its files are gone.

    Raises:
        WorkspaceError: the pointer cannot be read.
    """

    def read(told: dict[str, Any], find: Find) -> KeptNamesModel | None:
        model, run, month, fits = find(told["model"]), told["run"], told["month"], dict(told["fits"])
        if model is None:
            logger.warning("the names model that %s keeps, trained in %s, is gone or damaged", lineage, run)
            return None
        return KeptNamesModel(model, run, month, fits)

    return read_pointer(
        workspace, KEPT_NAMES, lineage, read, "remove it, and names are accepted as stated, or train another"
    )
