"""The code version follows what a module imports, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plant_traits import code_version as module


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "little"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from little.b import x\nimport json\n")
    (folder / "b.py").write_text("x = 1\n")
    (folder / "c.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "OUR_PACKAGES", ("little",))
    for name in [x for x in sys.modules if x.partition(".")[0] == "little"]:
        monkeypatch.delitem(sys.modules, name)
    module.code_version.cache_clear()
    module._is_module.cache_clear()
    yield folder
    module.code_version.cache_clear()
    module._is_module.cache_clear()


def version() -> str:
    module.code_version.cache_clear()
    module._imports.cache_clear()
    return module.code_version("little.a")


def test_changes_with_what_is_imported(package: Path) -> None:
    before = version()
    (package / "b.py").write_text("x = 2\n")
    assert version() != before


def test_does_not_change_with_what_is_not(package: Path) -> None:
    before = version()
    (package / "c.py").write_text("y = 2\n")
    assert version() == before


@pytest.mark.parametrize(
    "importing",
    [
        "def f():\n    from little import c\n",
        "class A:\n    if True:\n        import little.c\n",
        "try:\n    x = 1\nexcept ValueError:\n    from . import c\nelse:\n    y = 1\n",
        "match 1:\n    case 1:\n        from .c import y\n",
        "for x in ():\n    pass\nelse:\n    import little.c as d\n",
    ],
)
def test_changes_with_what_is_imported_inside_a_block(package: Path, importing: str) -> None:
    (package / "b.py").write_text(importing)
    before = version()
    (package / "c.py").write_text("y = 2\n")
    assert version() != before


def test_changes_with_a_library(package: Path) -> None:
    before = version()
    (package / "b.py").write_text("import numpy\nx = 1\n")
    with_library = version()
    assert with_library != before


def test_report_templates_do_not_retrain_models() -> None:
    training = module._source_of("plant_traits.stages.training")
    assert training.name == "training.py"
    assert not any(name.startswith("maps") for name in module._imports(training, "plant_traits.stages.training"))


def test_unknown_module() -> None:
    with pytest.raises(ModuleNotFoundError):
        module.code_version("plant_traits.nothing")
