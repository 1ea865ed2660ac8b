"""Models of a hub, from its local cache or from a folder: files and networks, safetensors only, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import yaml
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from torch import Tensor, nn

from plant_traits.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_CARD = "README.md"


def advice(location: str) -> str:
    """Say how to come by a model that is not there."""
    return (
        f"download it once with `hf download {location}` on a machine with network access, copy that machine's cache "
        f"(the folder HF_HOME names) to this one if it is another, or give a local folder with {CONFIG} and {WEIGHTS}"
    )


def hub_file(encoder: str, location: str, name: str, local_files_only: bool) -> Path:
    """Find one file of a model.

    Args:
        encoder: what it is for, named in errors.
        location: a local folder, or a hub id such as ``facebook/dinov2-with-registers-base``.
        name: of the file.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: the file is not there.
    """
    if Path(location).is_dir():
        path = Path(location) / name
        if not path.is_file():
            raise ModelError(f"encoder {encoder}: expected {name} in {location}, which lacks it; {advice(location)}")
        return path
    try:
        return Path(huggingface_hub.hf_hub_download(location, name, local_files_only=local_files_only))
    except (OSError, HFValidationError, EntryNotFoundError) as error:  # OSError: not cached, no network, no such model
        raise ModelError(
            f"encoder {encoder}: no {name} of a model at {location!r}: {str(error)[:200]}; {advice(location)}"
        ) from error


def licence_at(location: str) -> str:
    """Return the licence that the model card at a location states; never downloads."""
    unknown = f"not stated beside {location}; see its model card"
    try:
        card = hub_file("licence", location, _CARD, local_files_only=True)
        stated = (huggingface_hub.metadata_load(card) or {}).get("license")
    except (ModelError, ValueError, yaml.YAMLError):
        return unknown
    return str(stated) if stated else unknown


def load_pretrained(
    encoder: str, location: str, families: Mapping[str, str], local_files_only: bool
) -> tuple[nn.Module, Any]:
    """Load a network of the transformers library; safetensors only, no code of the model's own, nothing missing.

    Args:
        encoder: what it is for, named in errors.
        location: a local folder with ``config.json`` and ``model.safetensors``, or a hub id.
        families: allowed model types, each with the class that reads it.
        local_files_only: never download; a hub id must then be in the local cache.

    Returns:
        The network in float32 and evaluation mode, and its configuration.

    Raises:
        ModelError: the model is not there, is of another family, or its weights are damaged or incomplete.
    """
    import transformers  # noqa: PLC0415  (takes seconds, and only these encoders need it)

    # Every worker would draw its own.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    local = local_files_only or Path(location).is_dir()
    try:
        config = transformers.AutoConfig.from_pretrained(location, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"encoder {encoder}: no model at {location!r}: {str(error)[:200]}; {advice(location)}"
        ) from error
    if config.model_type not in families:
        raise ModelError(
            f"encoder {encoder}: expected a model of {tuple(families)}, found {config.model_type!r} at {location!r}"
        )
    try:
        loaded: Any = getattr(transformers, families[config.model_type]).from_pretrained(
            location, config=config, local_files_only=local, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"encoder {encoder}: weights at {location!r}: {str(error)[:200]}; {advice(location)}"
        ) from error
    network, report = loaded
    if report["missing_keys"]:
        raise ModelError(
            f"encoder {encoder}: the weights at {location!r} lack {sorted(report['missing_keys'])[:5]}; "
            f"{advice(location)}"
        )
    return network.float().eval(), config


def load_strictly(
    what: str,
    network: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    published: Mapping[str, str] | None = None,
) -> None:
    """Put tensors into a network: none missing, none left over, none of another shape.

    Args:
        what: the network, named in errors.
        network: what receives the tensors.
        state: the tensors by their published names.
        source: where they come from, named in errors.
        published: the published name of each of the network's tensors; by default its own.

    Raises:
        ModelError: they do not fit; names the first of those that do not.
    """
    own = network.state_dict()
    expected = {name if published is None else published[name]: name for name in own}
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    both = expected.keys() & state.keys()
    wrong = sorted(name for name in both if own[expected[name]].shape != state[name].shape)
    if missing or extra or wrong:
        raise ModelError(
            f"{what}: {source} does not fit: missing {missing[:5]}, left over {extra[:5]}, of another shape "
            f"{wrong[:5]}; expected the published weights, get them again"
        )
    network.load_state_dict({name: state[outside] for outside, name in expected.items()}, strict=True)
