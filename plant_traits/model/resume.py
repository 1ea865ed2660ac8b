"""Keep the state of a training on disk, so that one that was killed goes on to the same result.

A state is one safetensors file with its plain values as JSON in the header. Its name and its header carry a
fingerprint of everything that bears on the training, and its header a hash of its content: a state that is not whole,
or of another training, is never used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

logger = logging.getLogger(__name__)

_FORMAT = "1"


@dataclass(frozen=True)
class MemberState:
    """A member in training, or trained, as it is kept.

    Attributes:
        finished: whether nothing is left to train.
        tensors: weights, states of the optimiser and of random generators, by name, on the CPU.
        values: everything else, plain numbers, strings, lists and mappings.
    """

    finished: bool
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


def fingerprint(*parts: object) -> str:
    """Return 32 hexadecimal digits of numbers, strings, arrays, tensors, and containers and dataclasses of them.

    Arrays count with type, shape and bytes; anything else as JSON.
    """
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()[:32]


def _add(digest: Any, part: object) -> None:  # noqa: ANN401  # hashlib names no type of its own
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray) and part.dtype != object:
        digest.update(f"array {part.shape} {part.dtype};".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            digest.update(f"{field.name}:".encode())
            _add(digest, getattr(part, field.name))
    elif isinstance(part, Mapping):
        for key, value in part.items():
            digest.update(f"{key}:".encode())
            _add(digest, value)
    else:
        plain = part.tolist() if isinstance(part, np.ndarray) else part
        digest.update(json.dumps(plain, default=str).encode() + b";")


def pack_state(state: MemberState, key: str) -> bytes:
    """Return a state as the bytes of a file, under the fingerprint of its training."""
    values = json.dumps(state.values)
    header = {
        "format": _FORMAT,
        "fingerprint": key,
        "finished": json.dumps(state.finished),
        "values": values,
        "content": _content(state.finished, values, state.tensors),
    }
    return save({name: tensor.contiguous() for name, tensor in state.tensors.items()}, metadata=header)


def unpack_state(data: bytes, key: str) -> MemberState:
    """Return the state that ``pack_state`` made bytes of.

    Raises:
        ValueError: they are damaged, of another format, or of a training of another fingerprint.
    """
    try:
        header = _header(data)
        tensors, values = load(data), header["values"]
        finished = bool(json.loads(header["finished"]))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged: {str(error)[:200]}") from error
    if header.get("format") != _FORMAT or header.get("fingerprint") != key:
        raise ValueError("it is of a training with other data, settings or software")
    if header.get("content") != _content(finished, values, tensors):
        raise ValueError("it is damaged: its content is not what was written")
    return MemberState(finished, tensors, json.loads(values))


def _header(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file: its length in 8 bytes, then JSON."""
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < end:
        raise ValueError("it ends within its header")
    return dict(json.loads(data[8:end])["__metadata__"])


def _content(finished: bool, values: str, tensors: Mapping[str, Tensor]) -> str:
    return fingerprint(finished, values, dict(sorted(tensors.items())))


def state_path(folder: Path, name: str, key: str) -> Path:
    """Return where the state of a training is kept: one file for each name and fingerprint."""
    return folder / f"{name}.{key}.safetensors"


def keep_state(folder: Path, name: str, key: str, state: MemberState) -> None:
    """Put a state in the place of its predecessor: whole or not at all, whenever the process is killed.

    That a state cannot be written is logged and stops nothing: the training goes on, and could not be resumed from it.

    Args:
        folder: local folder, made where it is missing.
        name: of the training, for people.
        key: its fingerprint.
        state: what to keep.
    """
    path = state_path(folder, name, key)
    aside = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as stream:
            stream.write(pack_state(state, key))
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        logger.warning("the state of %s cannot be kept: %s; free space, or training starts over if killed", name, error)


def find_state(folder: Path, name: str, key: str) -> MemberState | None:
    """Return the state of a training where a whole one is kept; log why one of its name cannot be used.

    Args:
        folder: as in ``keep_state``, and likewise the others.
        name: of the training.
        key: its fingerprint.
    """
    path = state_path(folder, name, key)
    for other in sorted(folder.glob(f"{name}.*.safetensors")):
        if other != path and not _is_finished(other):
            logger.warning(
                "the state %s of %s is ignored: it is of a training with other data, settings or software that did "
                "not finish; delete it once no run needs it",
                other,
                name,
            )
    try:
        return unpack_state(path.read_bytes(), key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("the state %s of %s is ignored: %s; %s is trained afresh", path, name, str(error)[:300], name)
        return None


def _is_finished(path: Path) -> bool:
    """Tell whether a file says that it is of a training that finished, reading no more than its header."""
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            return (stored.metadata() or {}).get("finished") == "true"
    except (OSError, safetensors.SafetensorError):
        return False


def torch_description(device: torch.device) -> dict[str, Any]:
    """Return what of torch and of the machine changes the last bits of a training."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
