"""The plug-ins that bring sources into the mirror, by the id that profiles use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plant_traits.errors import InputError
from plant_traits.sources.gbif.download import GbifDownload
from plant_traits.sources.gbif.institutions import GbifInstitutions
from plant_traits.sources.gbif.names import GbifNames
from plant_traits.sources.gbif.search import GbifSearch
from plant_traits.sources.gbif.snapshot import GbifSnapshot
from plant_traits.sources.inaturalist.api import InaturalistApi
from plant_traits.sources.inaturalist.identification_source import InaturalistIdentifications
from plant_traits.sources.inaturalist.open_data import InaturalistOpenData
from plant_traits.sources.photo_store.source import PhotoSource
from plant_traits.sources.protocol import NAMES, OBSERVATIONS, VOTED, DataSource
from plant_traits.sources.rasters.source import RasterSource
from plant_traits.sources.static_files import StaticFiles


@dataclass(frozen=True)
class Plugin:
    """A way to bring a source.

    Attributes:
        make: makes the plug-in.
        needs: the table of an earlier stage that says what to fetch; None where the request says it all.
        whole: all of the source is read, however small the region.
    """

    make: Callable[[], DataSource]
    needs: str | None = None
    whole: bool = False


PLUGINS: Mapping[str, Plugin] = {
    "gbif-download": Plugin(GbifDownload),
    "gbif-search": Plugin(GbifSearch),
    "gbif-snapshot": Plugin(GbifSnapshot, whole=True),
    "gbif-institutions": Plugin(GbifInstitutions),
    "gbif-names": Plugin(GbifNames, needs=NAMES),
    "inaturalist-identifications": Plugin(InaturalistIdentifications, needs=VOTED),
    "inaturalist-open-data": Plugin(InaturalistOpenData, whole=True),
    "inaturalist-api": Plugin(InaturalistApi),
    "photos": Plugin(PhotoSource, needs=OBSERVATIONS),
    "rasters": Plugin(RasterSource),
    "static-files": Plugin(StaticFiles),
}


def find_plugin(plugin_id: str) -> Plugin:
    """Return a plug-in.

    Raises:
        InputError: there is none of that id.
    """
    if plugin_id not in PLUGINS:
        raise InputError(
            f"no plug-in is called {plugin_id!r}; known: {', '.join(sorted(PLUGINS))}. Correct `acquire` in the profile"
        )
    return PLUGINS[plugin_id]
