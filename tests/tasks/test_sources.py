"""A mirror is held for the whole of a run that fills it: other runs share the folders of names, photos and rasters."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.stages.acquisition import held
from tasks.context import RunWords, open_run


def test_a_run_holds_its_mirror(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    words = RunWords("global", workspace=str(tmp_path / "one"), data=str(mirror))
    other = RunWords("global", workspace=str(tmp_path / "two"), data=str(mirror))
    with open_run(words), pytest.raises(WorkspaceError, match="being filled by another run"), open_run(other):
        pass
    with held(mirror), pytest.raises(WorkspaceError, match="being filled by another run"), open_run(words):
        pass
    with open_run(other):
        pass
