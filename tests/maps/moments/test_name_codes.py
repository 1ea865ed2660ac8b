from __future__ import annotations

import pyarrow as pa
import pytest

from maps.moments.name_codes import NameCodes


@pytest.mark.parametrize("chunked", [False, True])
def test_names_are_numbered_in_their_order_and_missing_ones_last(chunked: bool) -> None:
    column = pa.array(["b", None, "a", "c", "b"], pa.string())
    names = NameCodes.of(pa.chunked_array([column[:2], column[2:]]) if chunked else column)
    assert names.codes.tolist() == [1, 3, 0, 2, 1]
    assert names.names.to_pylist() == ["a", "b", "c", None]
    assert names.take(names.codes).to_pylist() == column.to_pylist()


def test_no_names_leave_the_missing_one() -> None:
    names = NameCodes.of(pa.array([], pa.string()))
    assert names.codes.tolist() == []
    assert names.names.to_pylist() == [None]
