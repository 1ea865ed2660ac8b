"""Read a plug-in's settings from the profile into its own model."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from plant_traits.errors import InputError
from plant_traits.sources.protocol import Request


class PluginSettings(BaseModel):
    """Common ground of plug-ins' settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=PluginSettings)


def read_settings(request: Request, model: type[S], plugin: str) -> S:
    """Check the settings of a request.

    Raises:
        InputError: a setting is unknown or has a value that it cannot have.
    """
    try:
        return model.model_validate(dict(request.settings))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'settings'}: {x['msg']}" for x in error.errors())
        raise InputError(
            f"source {request.source.id!r}: settings of `{plugin}` are wrong: {problems}; "
            f"it knows {', '.join(sorted(model.model_fields))}"
        ) from error
