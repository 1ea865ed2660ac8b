"""Before anything is asked: the month, the folders, the settings and what people have to put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import cast

import pytest

from data_catalog import Acquisition
from plant_traits.errors import InputError, MissingInputError, WebError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.run_spec import RunSpec
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.registry import PLUGINS, Plugin
from plant_traits.sources.web.client import Web
from plant_traits.stages import acquisition
from plant_traits.stages.acquisition import acquire, acquisitions, check_acquisitions, held

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


NO_WEB = cast(Web, None)  # the plug-in of these tests asks nobody
EUROPE, ALPS = Region("europe", -25, 34, 45, 72), Region("alps", 5, 43, 17, 48)


@dataclass
class Service:
    """A plug-in that writes its request's box; some boxes fail so many times."""

    failures: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def plan(self, request: Request) -> Plan:
        return Plan({"box": list(request.region.bbox), "month": str(request.month)})

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        self.asked.append(request.region.name)
        if self.failures.get(request.region.name, 0) > 0:
            self.failures[request.region.name] -= 1
            raise WebError("unavailable", f"no answer for {request.region.name}")
        (request.folder / "box").write_text(str(request.region.bbox))
        return Fetched(("box",))

    def verify(self, request: Request, fetched: Fetched) -> None:
        pass

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        return {}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(acquisition, "find_plugin", lambda _: Plugin(lambda: made))
    return made


def of_gbif(spec: RunSpec) -> RunSpec:
    return with_acquisitions(spec, spec.profile.inputs.acquire[0])


def test_what_brings_occurrences_is_fetched_in_pieces_and_the_rest_once(spec: RunSpec) -> None:
    collected = replace(spec, collected=(ALPS,))
    gbif = ["gbif/tile30-n30-e0/2026-10"]
    assert [x.into for x in collected.inputs.acquire if x.plugin == "gbif-download"] == gbif
    assert [x.into for x in collected.inputs.acquire if x.plugin == "inaturalist-open-data"] == [
        "inaturalist/world/2026-10"
    ]
    assert [x.path for x in collected.inputs.occurrences] == [
        "gbif/tile30-n30-e0/2026-10/occurrences.parquet",
        "inaturalist/world/2026-10/occurrences.parquet",
    ]
    assert [x.into for x in collected.inputs.acquire[2:]] == [x.into for x in spec.inputs.acquire[2:]]
    assert (collected.lineage, collected.name) == (spec.lineage, spec.name)
    assert collected.parameters != spec.parameters
    assert spec.pieces == ()


def test_regions_that_overlap_share_their_pieces(spec: RunSpec) -> None:
    pieces = {x.name for x in replace(spec, collected=(EUROPE,)).pieces}
    assert {x.name for x in replace(spec, collected=(ALPS, EUROPE)).pieces} == pieces
    assert len(pieces) == 6


def test_records_of_a_piece_outside_the_region_do_not_take_part(spec: RunSpec) -> None:
    area = replace(spec, collected=(ALPS,)).area
    assert area.contains([45, 35], [10, 10]).tolist() == [True, False]
    assert spec.area.contains([45, 35], [10, 10]).tolist() == [True, True]


def test_regional_rasters_follow_the_map_not_the_pieces(spec: RunSpec) -> None:
    rasters = next(x for x in spec.profile.inputs.acquire if x.plugin == "rasters")
    placed = with_acquisitions(spec, rasters.model_copy(update={"into": "chelsa/{region}"}))
    assert [x.into for x in replace(placed, collected=(EUROPE,)).inputs.acquire] == ["chelsa/world"]


def test_a_source_that_comes_whole_is_not_split(spec: RunSpec, mirror: Path) -> None:
    tables = next(x for x in spec.profile.inputs.acquire if x.plugin == "inaturalist-open-data")
    split = with_acquisitions(spec, tables.model_copy(update={"split": True}))
    check_acquisitions(split, mirror, AFTER)  # a plain refresh splits nothing
    with pytest.raises(InputError, match="set `split: false`"):
        check_acquisitions(replace(split, collected=(EUROPE,)), mirror, AFTER)
    assert {name for name, plugin in PLUGINS.items() if plugin.whole} == {"inaturalist-open-data", "gbif-snapshot"}


def test_a_piece_is_fetched_once_for_all_regions(spec: RunSpec, mirror: Path, service: Service) -> None:
    for collected in ((ALPS,), (ALPS, EUROPE), (EUROPE,)):
        some = replace(of_gbif(spec), collected=collected)
        acquire(some, mirror, NO_WEB, items=acquisitions(some))
    assert len(service.asked) == len(set(service.asked)) == 6
    box = (mirror / "gbif" / "tile30-n30-e0" / "2026-10" / "box").read_text()
    assert box == str((0 - 0.001, 30 - 0.001, 30 + 0.001, 60 + 0.001))


def test_a_piece_that_fails_does_not_keep_the_others_back(spec: RunSpec, mirror: Path, service: Service) -> None:
    service.failures = {"tile30-n30-w30": 1, "tile30-n60-e0": 1}
    some = replace(of_gbif(spec), collected=(EUROPE,))
    done = acquire(some, mirror, NO_WEB, items=acquisitions(some))
    assert service.asked[-2:] == ["tile30-n30-w30", "tile30-n60-e0"]
    assert [x.asked["box"] for x in done] == [list(x.bbox) for x in some.pieces]


def test_a_piece_that_keeps_failing_is_told_and_the_others_stay(spec: RunSpec, mirror: Path, service: Service) -> None:
    service.failures = {"tile30-n30-w30": 2}
    some = replace(of_gbif(spec), collected=(EUROPE,))
    with pytest.raises(WebError, match="no answer for tile30-n30-w30"):
        acquire(some, mirror, NO_WEB, items=acquisitions(some))
    service.asked.clear()
    acquire(some, mirror, NO_WEB, items=acquisitions(some))
    assert service.asked == ["tile30-n30-w30"]


def test_a_service_that_is_down_is_not_asked_for_every_piece(spec: RunSpec, mirror: Path, service: Service) -> None:
    service.failures = {x.name: 9 for x in replace(spec, collected=(EUROPE,)).pieces}
    some = replace(of_gbif(spec), collected=(EUROPE,))
    with pytest.raises(WebError):
        acquire(some, mirror, NO_WEB, items=acquisitions(some))
    assert 3 <= len(service.asked) < 6  # those that are on their way when the third fails
