"""Before anything is asked: the month, the folders, the settings and what people have to put there."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from data_catalog import Acquisition
from plant_traits.errors import InputError, MissingInputError, WorkspaceError
from plant_traits.month import Month
from plant_traits.run_spec import RunSpec
from plant_traits.stages.acquisition import check_acquisitions, held

AFTER = date(2026, 11, 1)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    for name in ("try", "products"):
        (tmp_path / "mirror" / name).mkdir(parents=True)
        (tmp_path / "mirror" / name / "file").touch()
    return tmp_path / "mirror"


@pytest.fixture
def spec(mirror: Path) -> RunSpec:
    return RunSpec.resolve("global", month="2026-10", variables={"PLANT_TRAITS_MIRROR": str(mirror)})


def with_acquisitions(spec: RunSpec, *items: Acquisition) -> RunSpec:
    inputs = spec.profile.inputs.model_copy(update={"acquire": items})
    return replace(spec, profile=spec.profile.model_copy(update={"inputs": inputs}))


def test_a_ready_mirror_is_ready(spec: RunSpec, mirror: Path) -> None:
    check_acquisitions(spec, mirror, AFTER)


def test_a_month_that_goes_on_is_not_fetched(spec: RunSpec, mirror: Path) -> None:
    with pytest.raises(InputError, match=r"month 2026-10 has not ended on 2026-10-31: .* name 2026-09"):
        check_acquisitions(spec, mirror, date(2026, 10, 31))


def test_a_virtual_month_need_not_have_ended(spec: RunSpec, mirror: Path) -> None:
    check_acquisitions(replace(spec, month=Month(9998, 1)), mirror, None)


def test_what_nobody_serves_must_be_there_before_the_rest_is_fetched(spec: RunSpec, mirror: Path) -> None:
    (mirror / "try" / "file").unlink()
    with pytest.raises(MissingInputError, match="nothing in 'try'"):
        check_acquisitions(spec, mirror, AFTER)


def test_two_acquisitions_do_not_share_a_folder(spec: RunSpec, mirror: Path) -> None:
    names, photos = spec.profile.inputs.acquire[-2:]
    shared = photos.model_copy(update={"into": f"{names.into}/"})
    with pytest.raises(InputError, match="several acquisitions go into \\['names'\\]"):
        check_acquisitions(with_acquisitions(spec, names, shared), mirror, AFTER)


@pytest.mark.parametrize("plugin", ["gbif-download", "gbif-names", "photos", "static-files"])
def test_settings_of_every_plug_in_are_read_first(spec: RunSpec, mirror: Path, plugin: str) -> None:
    item = next(x for x in spec.profile.inputs.acquire if x.plugin == plugin)
    wrong = item.model_copy(update={"settings": {"colour": "green"}})
    with pytest.raises(InputError, match="colour"):
        check_acquisitions(with_acquisitions(spec, wrong), mirror, AFTER)


def test_a_mirror_is_held_by_one_run(mirror: Path) -> None:
    with held(mirror), pytest.raises(WorkspaceError, match="another run"), held(mirror):
        pass
    with held(mirror):
        pass


def test_month_and_region_are_placed_in_every_path(mirror: Path) -> None:
    spec = RunSpec.resolve("global", month="2026-10", region="iberia", variables={"PLANT_TRAITS_MIRROR": str(mirror)})
    products = tuple(x.model_copy(update={"path": "products/{region}"}) for x in spec.profile.inputs.products)
    changed = {
        "reference": "reference/{month}",
        "products": products,
        "gridded_plots": products[0],
        "truth": products[0],
        "brought": ("try/{month}",),
    }
    inputs = spec.profile.inputs.model_copy(update=changed)
    placed = replace(spec, profile=spec.profile.model_copy(update={"inputs": inputs})).inputs
    assert placed.acquire[0].into == "gbif/iberia/2026-10"
    assert (placed.reference, placed.brought) == ("reference/2026-10", ("try/2026-10",))
    assert {x.path for x in (*placed.products, placed.gridded_plots, placed.truth)} == {"products/iberia"}
