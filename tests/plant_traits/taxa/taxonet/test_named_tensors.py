"""Files of tensors with a description: they are read as they were written, and other files are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from plant_traits.taxa.taxonet.named_tensors import UNREADABLE, read_named_tensors, under, write_named_tensors


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a.one": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([1, 2])}
    write_named_tensors(path, "form-1", {"species": ["Ébenus sp.", None], "scale": 0.1}, tensors)
    told, found = read_named_tensors(path, "form-1")
    assert told == {"format": "form-1", "species": ["Ébenus sp.", None], "scale": 0.1}
    assert sorted(found) == ["a.one", "b"]
    assert all(torch.equal(found[name], x) for name, x in tensors.items())


def test_names_under_a_prefix_lose_it() -> None:
    x = torch.zeros(1)
    assert list(under("a.", {"a.one": x, "b.a.two": x, "a.b.three": x})) == ["one", "b.three"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_named_tensors(path, "form-1", {}, {"a": torch.zeros(2)})
    with pytest.raises(ValueError, match="format 'form-1'"):
        read_named_tensors(path, "form-2")
    for content in (b"", path.read_bytes()[:20], b"text"):
        path.write_bytes(content)
        with pytest.raises(UNREADABLE):
            read_named_tensors(path, "form-1")
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UNREADABLE):
        read_named_tensors(path, "form-1")
    with pytest.raises(UNREADABLE):
        read_named_tensors(tmp_path / "absent", "form-1")
