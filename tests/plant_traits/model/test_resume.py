"""States on disk: whole or not used, and fingerprints that tell trainings apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from plant_traits.model.resume import (
    MemberState,
    find_state,
    fingerprint,
    keep_state,
    pack_state,
    state_path,
    unpack_state,
)

STATE = MemberState(
    False,
    {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "n": torch.tensor(7)},
    {"loss": float("nan"), "best": float("inf"), "rate": 0.1, "big": 2**127 + 1, "name": "é"},
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    keep_state(tmp_path / "new" / "folder", "member-0", "k1", STATE)
    found = find_state(tmp_path / "new" / "folder", "member-0", "k1")
    assert found is not None
    assert not found.finished
    assert {name: (t.dtype, t.tolist()) for name, t in found.tensors.items()} == {
        "a": (torch.float32, [[0, 1, 2], [3, 4, 5]]),
        "n": (torch.int64, 7),
    }
    assert np.isnan(found.values["loss"])
    assert [found.values[key] for key in ("best", "rate", "big", "name")] == [float("inf"), 0.1, 2**127 + 1, "é"]


def test_a_state_is_plain_safetensors(tmp_path: Path) -> None:
    keep_state(tmp_path, "member-0", "k1", STATE)
    with safe_open(state_path(tmp_path, "member-0", "k1"), framework="np") as stored:
        assert sorted(stored.keys()) == ["a", "n"]
        assert stored.metadata()["fingerprint"] == "k1"


def test_nothing_kept_is_no_state(tmp_path: Path) -> None:
    assert find_state(tmp_path / "none", "member-0", "k1") is None


def test_every_byte_counts() -> None:
    data = pack_state(STATE, "k1")
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ValueError, match=r"it is (damaged|of a training)"):
            unpack_state(damaged, "k1")


def test_a_cut_anywhere_is_noticed() -> None:
    data = pack_state(STATE, "k1")
    for length in range(len(data)):
        with pytest.raises(ValueError, match="it is damaged"):
            unpack_state(data[:length], "k1")


def test_another_key_is_another_training() -> None:
    with pytest.raises(ValueError, match="other data, settings or software"):
        unpack_state(pack_state(STATE, "k1"), "k2")


def test_a_stranger_s_file_is_no_state(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, state_path(tmp_path, "member-0", "k1"))
    assert find_state(tmp_path, "member-0", "k1") is None


def test_others_are_spoken_of_where_they_did_not_finish(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_state(tmp_path, "member-0", "done", MemberState(True, STATE.tensors, STATE.values))
    assert find_state(tmp_path, "member-0", "k1") is None
    assert not caplog.text
    keep_state(tmp_path, "member-0", "begun", STATE)
    assert find_state(tmp_path, "member-0", "k1") is None
    assert "member-0.begun.safetensors" in caplog.text
    assert "done" not in caplog.text


def test_fingerprints_tell_values_types_and_shapes_apart() -> None:
    array = np.arange(6.0)
    keys = [
        fingerprint(part)
        for part in (array, array.astype(np.float32), array.reshape(2, 3), array.tolist(), torch.arange(6), "x", ["x"])
    ]
    assert len(set(keys)) == len(keys)
    assert fingerprint(array) == fingerprint(torch.arange(6, dtype=torch.float64)) == keys[0]
    other = np.array(["a", None], dtype=object)
    assert fingerprint(other) == fingerprint(np.array(["a", None], dtype=object)) != fingerprint(other[::-1])
