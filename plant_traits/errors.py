"""Typed errors. Each message names the thing, what was expected, what was found and what to do next."""

from __future__ import annotations


class PlantTraitsError(Exception):
    """Any error this project raises on purpose; the command line prints its message without a traceback."""


class InputError(PlantTraitsError):
    """An input from outside cannot be used; its source stops."""


class MissingInputError(InputError):
    """A file or folder that a run needs is not there."""


class ArchiveError(InputError):
    """An archive is truncated, hostile or not what its name says."""


class TableError(InputError):
    """A table lacks a column, or a column cannot be read as what it should be."""


class RasterError(InputError):
    """A raster contradicts the catalogue: CRS, extent, scale, offset or nodata."""


class WebError(InputError):
    """A request to a server failed for good, or was not made.

    Attributes:
        reason: short, stable word for the run report: ``gone``, ``forbidden``, ``refused_address``, ``too_large``,
            ``over_budget``, ``unavailable``, ``incomplete`` or ``unexpected_answer``.
        status: the server's HTTP status, where it answered.
    """

    def __init__(self, reason: str, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.status = status


class PhotoError(PlantTraitsError):
    """One photo cannot be used; it costs that photo, counted with its reason.

    Attributes:
        reason: short, stable word for the run report, such as ``corrupt`` or ``missing``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class WorkspaceError(PlantTraitsError):
    """The workspace cannot be read or written."""


class ModelError(PlantTraitsError):
    """A model, encoder or checkpoint cannot be built or loaded."""


class GridError(PlantTraitsError):
    """A grid, region or coordinate is outside what is defined."""
