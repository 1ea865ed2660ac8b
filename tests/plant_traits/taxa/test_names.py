from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.taxa.names import canonical_binomial, genus, matching_key


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
        # an epithet behind a section or subgenus, markup, quotes, an extinct mark: what the parser reads
        ("Rubus sect. Rubus fruticosus L.", "Rubus fruticosus"),
        ("Quercus subg. Cerris suber", "Quercus suber"),
        ("Taraxacum sect. Ruderalia", None),
        ("Taraxacum section Ruderalia", None),
        ("<i>Quercus robur</i> L.", "Quercus robur"),
        ('"Quercus robur"', "Quercus robur"),
        ("†Quercus robur", "Quercus robur"),
        # doubt before, within and behind the binomial
        ("cf. Quercus robur", None),
        ("Quercus cf robur", None),
        ("Quercus nr. robur", None),
        ("Quercus robur cf.", None),
        ("Quercus robur L. cf.", None),
        ("Quercus robur?", None),
        ("Quercus robur L. (?)", None),
        ("? Quercus robur", None),
        ("Poa annua/pratensis", None),
        ("Poa annua or pratensis", None),
        ("Poa annua + P. pratensis", None),
        ("Mentha × piperita × spicata", None),
        ("Salix alba x fragilis", None),
        # doubt that concerns only the rank below
        ("Quercus robur var. cf. alba", "Quercus robur"),
        # no species is named
        ("Eucalyptus sp. Howes Swamp Creek (M.Doherty 26)", None),
        ("Quercus species", None),
        ("Quercus sp1", None),
        ("Rosa 'Peace'", None),
        ("Q. robur", None),
        ("BOLD:AAA1234", None),
        # what may stand behind a binomial
        ("Quercus robur L., 1753", "Quercus robur"),
        ("Quercus robur auct. non L.", "Quercus robur"),
        ("Festuca ovina s.l.", "Festuca ovina"),
        ("Rubus fruticosus agg.", "Rubus fruticosus"),
        ("Aesculus × carnea 'Briotii'", "Aesculus carnea"),
        ("Hieracium o'donnellii", "Hieracium odonnellii"),
        ("Solidago ×niederederi Khek", "Solidago niederederi"),
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


def test_matching_keys_are_ascii_and_keep_hyphens() -> None:
    names = pd.Series(
        ["Isoëtes lacustris L.", "Aloë vera", "Æsculus hippocastanum", "Carex bönninghausiana", "Carex vulpinoídea",
         "Capsella bursa-pastoris (L.) Medik.", "Salix Ørstedii", "Salix ørstedii", "Quercus sp.", None],
        index=range(10, 20),
    )  # fmt: skip
    found = matching_key(names)
    assert list(found.index) == list(range(10, 20))
    assert found.tolist()[:6] == [
        "Isoetes lacustris", "Aloe vera", "Aesculus hippocastanum", "Carex bonninghausiana", "Carex vulpinoidea",
        "Capsella bursa-pastoris",
    ]  # fmt: skip
    assert found.isna().tolist()[6:] == [True, False, True, True] and found[17] == "Salix orstedii"


@given(st.lists(st.text(alphabet="QuercsobrëæØx×X_ .?'-Lfa", max_size=25), max_size=8))
def test_keys_stay_as_they_are(names: list[str]) -> None:
    once = matching_key(pd.Series(names, dtype="str"))
    pd.testing.assert_series_equal(once, matching_key(once))
    assert all(name.isascii() for name in once.dropna())
