"""The world's files at the addresses where their like are published."""

from __future__ import annotations

import zipfile
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

CHELSA = "/envicloud/chelsa/chelsa_V2/GLOBAL/climatologies/1981-2010/bio"
SOILGRIDS = "/soilgrids/latest"
SPLOTOPEN = "/ddm/Data/DownloadZip/3474"
_MOMENT = (2026, 11, 1, 3, 0, 0)


def file_route(path: str, folder: Path) -> Route:
    """Return a route ``path`` with ``{name}`` in it that gives the files of a folder."""

    async def answer(request: Request) -> Response:
        found = folder / request.path_params["name"]
        if found.parent != folder or not found.is_file():
            return Response(status_code=404)
        return FileResponse(found)

    return Route(path, answer, methods=["GET", "HEAD"])


def splotopen_route(folder: Path, made: Path) -> Route:
    """Return the route of sPlotOpen's download, a zip of the world's tables that is made when first asked for."""

    async def answer(_: Request) -> Response:
        path = made / "sPlotOpen.zip"
        if not path.exists():
            await run_in_threadpool(zip_folder, folder, path)
        return FileResponse(path, media_type="application/zip", filename=path.name)

    return Route(SPLOTOPEN, answer, methods=["GET", "HEAD"])


def zip_folder(folder: Path, path: Path) -> None:
    """Write the files of a folder into a zip; the same files give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(file.name, _MOMENT), file.read_bytes(), zipfile.ZIP_DEFLATED)
    part.replace(path)
