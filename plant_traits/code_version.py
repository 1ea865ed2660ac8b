"""The code version of a step: a hash of the sources its module imports, and the versions of the libraries they use.

A step's output is reused only while nothing that could change it has changed. Its own module, every module of ours that
it imports (directly or not) and the installed versions of the third-party packages among those imports make up that
version (templates and reference tables that lie beside them included), so that a new report template does not retrain a
model and a new torch does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

_DATA_FOLDERS = ("templates", "reference")
OUR_PACKAGES = ("data_catalog", "plant_traits", "maps", "tasks", "flows")


@lru_cache(maxsize=256)
def code_version(*modules: str) -> str:
    """Return the version of the code reachable from modules of ours.

    Args:
        modules: dotted names, such as ``maps.estimators.estimate``.

    Returns:
        A hash of 16 hexadecimal digits.

    Raises:
        ModuleNotFoundError: a module does not exist.
    """
    ours: dict[str, Path] = {}
    libraries: set[str] = set()
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name in ours:
            continue
        ours[name] = _source_of(name)
        for imported in _imports(ours[name], name):
            top = imported.partition(".")[0]
            if top in OUR_PACKAGES:
                pending += [x for x in (imported, top) if x not in ours and _is_module(x)]
            elif top not in sys.stdlib_module_names:
                libraries.add(top)
    digest = hashlib.sha256()
    for name in sorted(ours):
        digest.update(name.encode())
        digest.update(ours[name].read_bytes())
    folders = {path.parent / kind for path in ours.values() for kind in _DATA_FOLDERS}
    for file in sorted(x for folder in folders for x in folder.glob("*") if x.is_file()):
        digest.update(file.name.encode() + file.read_bytes())
    for distribution, version in _library_versions(frozenset(libraries)):
        digest.update(f"{distribution}=={version}".encode())
    return digest.hexdigest()[:16]


def _source_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module of ours is called {name!r}")
    return Path(spec.origin)


@lru_cache(maxsize=1024)
def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None


@lru_cache(maxsize=1024)
def _imports(path: Path, module: str) -> tuple[str, ...]:
    """Return the absolute names a module imports; ``from a import b`` gives both ``a`` and ``a.b``."""
    names: list[str] = []
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level] if path.name != "__init__.py" else module.split(".")
                base = ".".join([*parent, base]).rstrip(".")
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield statements and those inside them; expressions, which import nothing, are most of a module's nodes."""
    for node in body:
        yield node
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from _statements(getattr(node, block, []))


@lru_cache(maxsize=64)
def _library_versions(libraries: frozenset[str]) -> tuple[tuple[str, str], ...]:
    distributions = _distributions()
    found = {name: metadata.version(name) for top in libraries for name in distributions.get(top, [])}
    return tuple(sorted(found.items()))


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in metadata.packages_distributions().items()}
