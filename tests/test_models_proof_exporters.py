"""What PyTorch's two exporters write for layers of the table is read, and means the same."""

import io
import logging
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from models.proof.lipschitz import walk
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from tests.oracles import images, steepest

SHAPE = (4, 4, 4)
LAYERS = {
    "pools": [
        nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), nn.AdaptiveAvgPool2d(2),
    ],
    "moves": [
        nn.Upsample(scale_factor=2), nn.Upsample(size=(12, 12)), nn.PixelShuffle(2),
        nn.PixelUnshuffle(2), nn.ReflectionPad2d(2), nn.ReplicationPad2d((1, 2, 0, 1)),
        nn.ZeroPad2d(1), nn.ConstantPad2d(1, 0.5), nn.CircularPad2d(1),
        lambda x: x[:, 1:3, ::2, -3:], lambda x: torch.flip(x, [2]), lambda x: x[:, 2],
        lambda x: torch.roll(x, 1, 3), lambda x: x.repeat(1, 2, 1, 1), lambda x: x.unbind(1)[2],
        lambda x: x[:, :, :, :1].expand(-1, -1, -1, 5), lambda x: torch.stack([x, -x], 1),
    ],
    "functions": [
        nn.ReLU6(), nn.Hardtanh(-0.3, 0.4), lambda x: x.clamp(min=0.2), nn.Tanh(), nn.Sigmoid(),
        nn.LeakyReLU(0.2), nn.PReLU(4), lambda x: 2.0 * x.softmax(1),
        lambda x: torch.maximum(x, torch.tensor(0.3)),
    ],
    "reductions": [
        lambda x: x.mean((2, 3)), lambda x: x.sum(1), lambda x: x.amax((2, 3)),
        lambda x: x.max(2).values, lambda x: x.norm(dim=1), lambda x: x.sort(1).values,
        lambda x: x.topk(3, dim=1).values, lambda x: torch.maximum(x, -x),
        lambda x: torch.cat([torch.minimum(*x.chunk(2, 1)), torch.maximum(*x.chunk(2, 1))], 1),
        lambda x: x - x.mean(1, keepdim=True),
    ],
}  # fmt: skip


class SideBySide(nn.Module):
    """The results of all layers of a row of the table, flat."""

    def __init__(self, name):
        super().__init__()
        self.layers = LAYERS[name]
        self.owned = nn.ModuleList(layer for layer in self.layers if isinstance(layer, nn.Module))

    def forward(self, x):
        return torch.cat([layer(x).flatten(1) for layer in self.layers], 1)


def exported(network, *, dynamo, opset):
    x = torch.zeros(3, *SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim("batch")
            program = torch.onnx.export(
                network, (x,), dynamo=True, opset_version=opset,
                dynamic_shapes={"x": {0: batch}}, verbose=False,
            )  # fmt: skip
            return program.model_proto.SerializeToString()
        file = io.BytesIO()
        torch.onnx.export(
            network, (x,), file, dynamo=False, opset_version=opset, input_names=["x"],
            output_names=["logits"], dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip
        return file.getvalue()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("dynamo", "opset"), [(True, 20), (False, 13), (False, 17)])
def test_layers_as_an_exporter_writes_them_mean_what_they_meant(name, dynamo, opset):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    network = SideBySide(name).eval()
    program = read_program(exported(network, dynamo=dynamo, opset=opset))
    inputs = images(4, SHAPE) - np.float32(0.5)
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(logits_in_float64(program, inputs), expected, atol=1e-5)
    bound = walk(program).steps[-1].lipschitz_bound
    assert 0.5 * bound < steepest(program, SHAPE, seed=0) <= bound * (1 + 1e-9)
