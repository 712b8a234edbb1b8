"""Classifiers of other libraries, as their users build and export them."""

import contextlib
import io
import logging
import warnings

import numpy as np
import torch
from deel import torchlip
from orthogonium.layers import (
    AdaptiveOrthoConv2d,
    LayerCentering2D,
    MaxMin,
    OrthoLinear,
    UnitNormLinear,
)
from orthogonium.layers.conv.SLL.sll_layer import (
    SDPBasedLipschitzDense,
    SDPBasedLipschitzResBlock,
)
from orthogonium.layers.residual import AdditiveResidual, ConcatResidual
from torch import nn
from torch.nn.utils import parametrize


def torchlip_rows():
    return (16,), torchlip.Sequential(
        torchlip.SpectralLinear(16, 12),
        torchlip.GroupSort2(),
        torchlip.SpectralLinear(12, 12),
        torchlip.FullSort(),
        torchlip.SpectralLinear(12, 12),
        torchlip.GroupSort(4),
        torchlip.FrobeniusLinear(12, 4),
    )


def torchlip_images():
    return (1, 8, 8), torchlip.Sequential(
        torchlip.SpectralConv2d(1, 8, 3, padding=1),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d(2),
        torchlip.SpectralConv2d(8, 8, 3, padding=1),
        torchlip.GroupSort2(),
        torchlip.ScaledAvgPool2d(2),
        nn.Flatten(),
        torchlip.SpectralLinear(32, 16),
        torchlip.GroupSort2(),
        torchlip.FrobeniusLinear(16, 4),
    )


def orthogonium_rows():
    return (16,), nn.Sequential(
        OrthoLinear(16, 16), MaxMin(), OrthoLinear(16, 8), MaxMin(), UnitNormLinear(8, 4)
    )


def orthogonium_images(padding_mode="zeros"):
    convolution = {"padding_mode": padding_mode}
    return (1, 8, 8), nn.Sequential(
        AdaptiveOrthoConv2d(1, 8, 3, padding=1, **convolution),
        MaxMin(),
        AdaptiveOrthoConv2d(8, 16, 2, stride=2, padding=0, **convolution),
        MaxMin(),
        AdaptiveOrthoConv2d(16, 16, 3, stride=2, padding=1, **convolution),
        nn.LPPool2d(2, 2),
        nn.Flatten(),
        OrthoLinear(16, 16),
        MaxMin(),
        OrthoLinear(16, 4),
    )


def centred_images():
    return (2, 4, 4), nn.Sequential(
        AdaptiveOrthoConv2d(2, 8, 3, padding=1),
        LayerCentering2D(8),
        MaxMin(),
        nn.LPPool2d(2, 4),
        nn.Flatten(),
        OrthoLinear(8, 4),
    )


def orthogonium_circular():
    return orthogonium_images("circular")


def sll_images():
    return (2, 4, 4), nn.Sequential(
        SDPBasedLipschitzResBlock(2, 2), nn.Flatten(), OrthoLinear(32, 4)
    )


def sll_rows():
    return (12,), nn.Sequential(SDPBasedLipschitzDense(12, 12, 16), OrthoLinear(12, 4))


def residual_rows():
    inner = nn.Sequential(OrthoLinear(8, 8), MaxMin())
    return (16,), nn.Sequential(
        ConcatResidual(inner), OrthoLinear(16, 16), MaxMin(), OrthoLinear(16, 4)
    )


def mixed_rows():
    return (16,), nn.Sequential(AdditiveResidual(OrthoLinear(16, 16)), OrthoLinear(16, 4))


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.normalisation = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu(self.normalisation(self.first(x)))))


def plain_images():
    return (3, 8, 8), nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        ResidualBlock(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def plain_rows():
    return (12,), nn.Sequential(
        nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def softmax_rows():
    return (12,), nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4), nn.Softmax(dim=1))


def build(make, *, seed=0):
    """The shape of an example and a network with biases and statistics, ready for export."""
    torch.manual_seed(seed)
    shape, network = make()
    for _ in range(3):
        network(torch.rand(16, *shape))  # running statistics, power iterations
    with torch.no_grad():
        for name, bias in network.named_parameters():
            if name.endswith("bias"):
                bias.add_(0.1 * torch.randn_like(bias))
    network.eval()
    if isinstance(network, torchlip.Sequential):
        network = network.vanilla_export()
    return shape, frozen(network).requires_grad_(False)


def frozen(network):
    """Weights in place of what makes them, as a library's user is told to do before deployment."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and type(child) is not nn.Conv2d:
                module.add_module(name, plain_convolution(child))
        for name in list(getattr(module, "parametrizations", {})):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return network


def plain_convolution(made):
    plain = nn.Conv2d(
        made.in_channels,
        made.out_channels,
        made.kernel_size,
        stride=made.stride,
        padding=made.padding,
        dilation=made.dilation,
        groups=made.groups,
        bias=made.bias is not None,
        padding_mode=made.padding_mode,
    )
    plain.weight.data.copy_(made.weight)
    if made.bias is not None:
        plain.bias.data.copy_(made.bias)
    return plain.eval()


def export(network, shape, *, dynamo):
    """The bytes of the file that torch's newer or older exporter writes."""
    example = torch.rand(2, *shape)
    names = {"input_names": ["input"], "output_names": ["logits"], "verbose": False}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            dynamic = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(
                network, (example,), dynamo=True, opset_version=20, dynamic_shapes=dynamic, **names
            )
            return program.model_proto.SerializeToString()
        file = io.BytesIO()
        dynamic = {"input": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(
            network, (example,), file, dynamo=False, opset_version=17, dynamic_axes=dynamic, **names
        )
        return file.getvalue()


def outputs(network, x):
    """What the library's own network says of some images."""
    with torch.inference_mode():
        return network(torch.from_numpy(np.asarray(x))).numpy()
