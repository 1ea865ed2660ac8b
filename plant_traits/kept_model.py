"""The model that the runs of a lineage keep: trained once, then used month after month until another is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plant_traits.kept_pointer import Find, entry, read_pointer, write_pointer
from plant_traits.steps import Artifact
from plant_traits.workspace import Workspace

KEPT = "models"

logger = logging.getLogger("plant_traits.run")


@dataclass(frozen=True)
class KeptModel:
    """A model, what it was made of, and what a run must have in common with it.

    Attributes:
        model: output of the training, or a model's folder that was given.
        page: the model as people see it.
        made_of: outputs of the stages that it was trained on, by name; none for a model that was given.
        run: name of the run that trained it, or the name it was given under.
        month: month of that run's records, None for a model that was given.
        fits: what was asked of it: settings, traits, encoders, covariates, as JSON by name.
    """

    model: Artifact
    page: Artifact
    made_of: Mapping[str, Artifact]
    run: str
    month: str | None
    fits: Mapping[str, Any]

    @property
    def told(self) -> str:
        """Which model it is, when it was trained and on what, in a sentence."""
        name = f"The maps are made with the model {self.model.summary['model_id']}"
        rows = self.model.summary.get("in", {}).get("training rows")
        on = "" if rows is None else f" on {rows:,} rows"
        if self.month is None:
            return f"{name}, given under the name {self.run} and trained elsewhere{on}."
        return f"{name}, trained in the run {self.run}{on} of the records up to {self.month} and kept since."


def keep_model(workspace: Workspace, lineage: str, kept: KeptModel) -> None:
    """Write ``models/<lineage>.json``, the pointer that later runs of the lineage follow, in one step."""
    content = {
        "run": kept.run,
        "month": kept.month,
        "model_id": kept.model.summary["model_id"],
        "model": entry(kept.model),
        "page": entry(kept.page),
        "made_of": {name: entry(artifact) for name, artifact in kept.made_of.items()},
        "fits": kept.fits,
    }
    write_pointer(workspace, KEPT, lineage, content)


def find_kept(workspace: Workspace, lineage: str) -> KeptModel | None:
    """Return the model that the lineage keeps; None where there is none, or where its files are gone.

    Raises:
        WorkspaceError: the pointer cannot be read.
    """

    def read(told: dict[str, Any], find: Find) -> KeptModel | None:
        model, page = (find(told[name]) for name in ("model", "page"))
        made_of = {name: find(named) for name, named in told["made_of"].items()}
        run, month, fits = told["run"], told["month"], dict(told["fits"])
        if model is None or page is None:
            logger.warning(
                "the model that %s keeps, of the run %s, is gone or damaged: it cannot be used", lineage, run
            )
            return None
        there = {name: artifact for name, artifact in made_of.items() if artifact is not None}
        return KeptModel(model, page, there, run, month, fits)

    return read_pointer(workspace, KEPT, lineage, read, "remove it, and the next refresh trains, or ask for a model")
