"""A deployment's wrong parameters are refused before a run begins."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from flows.backfill import backfill
from flows.refresh import refresh
from flows.train_names import train_names


@pytest.mark.parametrize("gate", ["maybe", "ON", ""])
def test_the_gate_of_names_is_on_or_off(gate: str) -> None:
    with pytest.raises(ParameterTypeError, match=r"names_gate(.|\n)*'on' or 'off'"):
        refresh.validate_parameters({"profile": "tiny", "names_gate": gate})
    told: dict[str, Any] = {"profile": "tiny", "region": "europe", "months": ["2026-10"]}
    with pytest.raises(ParameterTypeError, match=r"names_gate(.|\n)*'on' or 'off'"):
        backfill.validate_parameters({**told, "names_gate": gate})
    assert backfill.validate_parameters({**told, "names_gate": "off"})["names_gate"] == "off"


def test_labelled_images_have_a_known_layout() -> None:
    with pytest.raises(ParameterTypeError, match="plantnet300k"):
        train_names.validate_parameters({"profile": "tiny", "images": "folder", "layout": "flickr"})
