import numpy as np
import pyarrow as pa

from plant_traits.model.curves import LEARNING_CURVE, EpochScores, gather_curves

NAN = float("nan")


def test_members_are_gathered_in_a_long_table() -> None:
    first = [
        EpochScores(0, "first", 1, 1e-3, 1.5, 1.4, {"height": 0.5, "sla": NAN}, {"height": 0.7, "sla": NAN}),
        EpochScores(0, "first", 2, 5e-4, 1.2, 1.3, {"height": 0.4, "sla": 0.3}, {"height": 0.8, "sla": 0.2}),
    ]
    second = [EpochScores(1, "refit", 1, 1e-3, 1.1, NAN, {"height": 0.6, "sla": 0.2}, {"height": 0.9, "sla": 0.1})]
    frame = gather_curves([first, second])
    assert list(frame.columns) == LEARNING_CURVE.names
    assert frame.to_numpy().tolist()[0] == [0, "first", 1, 1e-3, 1.5, 1.4, "height", 0.5, 0.7]
    assert frame["trait"].tolist() == ["height", "sla"] * 3
    assert frame["round"].tolist() == ["first"] * 4 + ["refit"] * 2
    assert frame["held_out_loss"].tolist()[:4] == [1.4, 1.4, 1.3, 1.3]
    np.testing.assert_array_equal(frame["rmse"], [0.5, NAN, 0.4, 0.3, 0.6, 0.2])
    np.testing.assert_array_equal(frame["pearson_r"], [0.7, NAN, 0.8, 0.2, 0.9, 0.1])
    assert pa.Table.from_pandas(frame, schema=LEARNING_CURVE, preserve_index=False).num_rows == 6


def test_no_epochs_are_an_empty_table() -> None:
    frame = gather_curves([[], []])
    assert len(frame) == 0
    assert pa.Table.from_pandas(frame, schema=LEARNING_CURVE, preserve_index=False).schema == LEARNING_CURVE
