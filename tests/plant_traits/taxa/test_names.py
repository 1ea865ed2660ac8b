from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.taxa.names import canonical_binomial, genus


@pytest.mark.parametrize(
    ("name", "binomial"),
    [
        ("Quercus robur", "Quercus robur"),
        ("Quercus robur L.", "Quercus robur"),
        ("Quercus_robur", "Quercus robur"),
        ("  quercus   Robur ", None),
        ("quercus robur", "Quercus robur"),
        ("QUERCUS ROBUR", "Quercus robur"),
        ("Quercus robur subsp. pedunculiflora (K.Koch) Menitsky", "Quercus robur"),
        ("Quercus robur var. alba", "Quercus robur"),
        ("Quercus ×rosacea Bechst.", "Quercus rosacea"),
        ("Quercus × rosacea", "Quercus rosacea"),
        ("Quercus x rosacea", "Quercus rosacea"),
        ("×Cuprocyparis leylandii", "Cuprocyparis leylandii"),
        ("Quercus robur × Quercus petraea", None),
        ("Quercus robur x petraea", None),
        ("Quercus (Cerris) suber L.", "Quercus suber"),
        ("Capsella bursa-pastoris (L.) Medik.", "Capsella bursa-pastoris"),
        ("Isoëtes lacustris L.", "Isoëtes lacustris"),
        ("Quercus L.", None),
        ("Quercus sp.", None),
        ("Quercus cf. robur", None),
        ("Quercus aff. robur", None),
        ("Quercus", None),
        ("", None),
        ("Colletes Latreille, 1802", None),
    ],
)
def test_names_become_binomials(name: str, binomial: str | None) -> None:
    found = canonical_binomial(pd.Series([name]))[0]
    assert pd.isna(found) if binomial is None else found == binomial


def test_index_and_nulls_are_kept() -> None:
    names = pd.Series(["Poa annua L.", None, "Poa annua"], index=[5, 3, 9])
    found = canonical_binomial(names)
    assert list(found.index) == [5, 3, 9]
    assert found.isna().tolist() == [False, True, False]
    assert genus(names).tolist()[0] == "Poa"
    assert canonical_binomial(pd.Series([None, None], dtype="str")).isna().all()


def test_genus() -> None:
    names = pd.Series(["Quercus L.", "quercus_robur", "×Cuprocyparis leylandii", "123", "Quercus"])
    assert genus(names).tolist()[:3] == ["Quercus", "Quercus", "Cuprocyparis"]
    assert pd.isna(genus(names)[3])
    assert genus(names)[4] == "Quercus"


@given(st.lists(st.text(max_size=30), max_size=8))
def test_canonical_names_stay_as_they_are(names: list[str]) -> None:
    once = canonical_binomial(pd.Series(names, dtype="str"))
    twice = canonical_binomial(once)
    pd.testing.assert_series_equal(once, twice)
