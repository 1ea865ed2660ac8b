"""Files of tensors by name, with what is no tensor beside them: how models of names are kept.

One safetensors file; its header holds the rest as JSON, and the format that both have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError)
"""What ``read_named_tensors`` raises, and torch where tensors do not fit a network."""
_HEADER = "names"


def write_named_tensors(path: Path, form: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and what describes them.

    Args:
        path: of the file.
        form: name of the format, which readers ask for.
        described: as JSON can hold it.
        tensors: by name.
    """
    told = json.dumps({"format": form, **described}, ensure_ascii=False)
    save_file({name: x.contiguous() for name, x in tensors.items()}, path, metadata={_HEADER: told})


def read_named_tensors(path: Path, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what describes the tensors of a file, and the tensors.

    Raises:
        One of ``UNREADABLE``: the file is not there, damaged, or of another format.
    """
    with safe_open(path, framework="pt") as opened:
        described = json.loads((opened.metadata() or {})[_HEADER])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    if described["format"] != form:
        raise ValueError(f"format {described['format']!r}")
    return described, tensors


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
