"""The command line says what is wrong in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

runner = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "nope"], "unknown profile 'nope'; the catalogue has: demo"),
        (["--profile", "tiny", "--region", "atlantis"], "unknown region 'atlantis'"),
        (["--profile", "tiny", "--grid", "7deg"], "divide 180 degrees"),
        (["--profile", "tiny", "--month", "2026-13"], "1 to 12"),
        (["--profile", "tiny", "--workspace", "/proc/plant-traits"], "cannot be written"),
        (["--profile", "tiny", "--workspace", "memory://x"], "--scratch"),
        (["--profile", "real", "--data", "/nowhere/at/all"], "which is not a folder"),
        (["--profile", "tiny", "--catalog", "/nowhere/at/all"], "does not exist"),
    ],
)
def test_wrong_words(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["refresh", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "atlantis", "--months", "2026-10"], "unknown region 'atlantis'"),
        (["--region", "europe", "--months", "October"], "expected YYYY-MM"),
        (["--region", "europe", "--months", "2026-10..2026-09"], "end before they begin"),
        (["--region", "europe", "--months", "1900-01..2026-09"], "expected 1 to 240 months"),
        (["--region", "europe", "--months", "2026-10", "--mapped", "oceania"], "lies outside what profile 'tiny' maps"),
        (["--region", "nowhere.geojson", "--months", "2026-10"], "region file nowhere.geojson is not there"),
        (["--region", "bad.geojson", "--months", "2026-10"], "cannot be read as GeoJSON"),
        (["--region", "europe", "--months", "2026-10", "--grid", "7deg"], "divide 180 degrees"),
    ],
)
def test_wrong_words_of_a_backfill(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.geojson").write_text("{")
    result = runner.invoke(app, ["backfill", "--profile", "tiny", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_month_of_real_services_must_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--profile", "global", "--data", str(tmp_path / "mirror"), "--region", "europe"]
    result = runner.invoke(app, ["backfill", *words, "--months", "2025-01,9998-01"])
    assert result.exit_code == 1
    assert "month 9998-01 has not ended" in result.output
    assert not (tmp_path / "mirror").exists()


def test_the_plan_of_an_acquisition_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    result = runner.invoke(app, ["acquire", "--profile", "global", "--data", str(tmp_path / "mirror"), "--plan"])
    assert result.exit_code == 0
    for told in ("gbif-download", "gbif/world/2026-10", "inaturalist-open-data", "idata.idiv.de", "12000"):
        assert told in result.output
    assert not (tmp_path / "mirror").exists()


def test_the_plan_of_a_backfill_names_every_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["--profile", "global", "--data", str(tmp_path / "mirror"), "--region", "iberia", "--plan"]
    result = runner.invoke(app, ["backfill", *words, "--months", "2026-08..2026-09"])
    assert result.exit_code == 0
    for told in ("tile30-n30-w30/2026-08", "tile30-n30-e0/2026-09", "inaturalist/world/2026-08"):
        assert told in result.output
    assert "gbif/world" not in result.output
    assert not (tmp_path / "mirror").exists()


def test_wrong_settings_of_a_plug_in_are_told_by_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "over" / "profiles").mkdir(parents=True)
    (tmp_path / "over" / "profiles" / "p.yaml").write_text(
        "id: p\ntitle: p\nmonth: '2026-01'\ninputs:\n  root: mirror\n"
        "  acquire: [{plugin: gbif-download, source: gbif, into: gbif, settings: {poll: 3}}]\n"
    )
    result = runner.invoke(app, ["acquire", "--profile", "p", "--catalog", "over", "--plan"])
    assert result.exit_code == 1
    assert "poll" in result.output
    assert "Traceback" not in result.output


def test_citing_something_else_than_a_release(tmp_path: Path) -> None:
    result = runner.invoke(app, ["cite", str(tmp_path), "--workspace", str(tmp_path)])
    assert result.exit_code == 1
    assert "records_used.csv" in result.output


def test_unknown_trait_in_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "over" / "profiles").mkdir(parents=True)
    (tmp_path / "over" / "profiles" / "p.yaml").write_text(
        "id: p\ntitle: p\nmonth: '2026-01'\ntraits: [heigth]\ninputs: {world: {}}\n"
    )
    result = runner.invoke(app, ["refresh", "--profile", "p", "--catalog", "over"])
    assert result.exit_code == 1
    assert "unknown trait 'heigth'" in result.output


def test_catalog_commands() -> None:
    listed = runner.invoke(app, ["catalog", "list", "traits"])
    assert listed.exit_code == 0
    assert "leaf_n" in listed.output
    shown = runner.invoke(app, ["catalog", "show", "height"])
    assert "unit: m" in shown.output
    assert runner.invoke(app, ["catalog", "check"]).exit_code == 0
    missing = runner.invoke(app, ["catalog", "show", "nothing"])
    assert missing.exit_code == 1
    assert "catalog list" in missing.output


def test_help_names_every_option() -> None:
    text = runner.invoke(app, ["refresh", "--help"]).output
    for option in ("--profile", "--region", "--month", "--grid", "--workspace", "--data", "--model"):
        assert option in text
    text = runner.invoke(app, ["backfill", "--help"]).output
    for option in ("--profile", "--region", "--months", "--mapped", "--model"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["refresh", "--profile", "tiny", "--names-gate", "maybe"], 2, "'maybe' is not one of 'on', 'off'"),
        (
            ["backfill", "--profile", "tiny", "--region", "europe", "--months", "2026-10", "--names-gate", "maybe"],
            2,
            "'maybe' is not one of 'on', 'off'",
        ),
        (["train-names", "--profile", "tiny", "--images", "."], 1, "expected a folder and its layout"),
        (
            ["train-names", "--profile", "tiny", "--images", ".", "--layout", "flickr"],
            2,
            "'flickr' is not one of 'plantnet300k', 'inaturalist2019'",
        ),
        (["train-names", "--profile", "tiny", "--layout", "plantnet300k"], 1, "expected a folder and its layout"),
        (["train-names", "--profile", "nope"], 1, "unknown profile 'nope'"),
    ],
)
def test_wrong_words_about_names(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # an error is broken into lines of the terminal's width
    result = runner.invoke(app, arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
