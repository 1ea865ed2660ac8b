"""The cap on an observer's day in a run profile: a number of photos, or none at all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_catalog import Catalog, Profile


def with_cap(catalog: Catalog, cap: object) -> Profile:
    return Profile.model_validate(catalog.profile("demo").model_dump() | {"photos_per_observer_day": cap})


def test_a_profile_may_do_without_a_cap(catalog: Catalog) -> None:
    assert catalog.profile("demo").photos_per_observer_day == 5
    assert with_cap(catalog, None).photos_per_observer_day is None
    assert with_cap(catalog, 1).photos_per_observer_day == 1


def test_a_cap_of_no_photos_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ValidationError, match="photos_per_observer_day"):
        with_cap(catalog, 0)
