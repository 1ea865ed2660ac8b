"""The citation of a map: the same records are told the same, whatever it took to fetch them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from maps.stages.citation import asked_for, lasting_facts, records_by_dataset
from plant_traits.sources.acquire import Acquired

PLANTNET = "7a3679ef-5582-4aaa-81f0-8c2545cafc81"


def test_how_often_a_service_was_asked_is_not_told() -> None:
    names = Acquired("gbif", "k", {"names": 40}, {}, {"names": 40, "asked_now": 40}, {}, {})
    resumed = replace(names, facts={"names": 40, "asked_now": 3})
    assert lasting_facts(names) == lasting_facts(resumed) == {"names": 40}
    photos = {"photos": 9, "held": 8, "asked for": 9, "fetched": 8, "bytes fetched": 4711, "postponed": 0}
    there_already = {**photos, "asked for": 0, "fetched": 0, "bytes fetched": 0}
    told = [lasting_facts(Acquired("inaturalist", "k", {}, {}, x, {}, {})) for x in (photos, there_already)]
    assert told == [{"photos": 9, "held": 8, "postponed": 0}] * 2


def test_the_round_in_which_photos_were_asked_for_is_not_told() -> None:
    first = Acquired("inaturalist", "k", {"photos": "abc", "again": 0}, {}, {}, {}, {})
    assert asked_for(first) == asked_for(replace(first, asked={"photos": "abc", "again": 2})) == {"photos": "abc"}
    assert asked_for(replace(first, asked=["a list"])) == ["a list"]


def test_a_data_set_of_two_sources_counts_the_records_of_both() -> None:
    counts = pd.DataFrame(
        {
            "source": ["gbif", "gbif-snapshot", "inaturalist", "gbif"],
            "dataset_key": [PLANTNET, PLANTNET.upper(), "", "50c9509d-22c7-4a22-a47d-8c48425ef4a7"],
            "n_records": [7, 2, 5, 0],
        }
    )
    assert records_by_dataset(counts) == {PLANTNET: 9}
