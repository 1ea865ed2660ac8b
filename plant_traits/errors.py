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
