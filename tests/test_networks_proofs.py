"""Every layer is exported and proven to stretch nothing, by the program that certifies."""

import copy

import pytest
import torch
from torch import nn

from models.networks.activations import (
    AbsHalf,
    BoundedPReLU,
    GroupSort,
    Householder,
    MaxMin,
    full_sort,
)
from models.networks.classifier import Starts
from models.networks.convolutions.block import BlockConvolution
from models.networks.convolutions.by_frequency import CayleyConvolution
from models.networks.convolutions.near_orthogonal import Kernels
from models.networks.geometry import Centring, L2Pool, SpaceToDepth
from models.networks.holding import ReshapedKernels, held_weights, hold, manifolds
from models.networks.onnx_export import check_parity, export_onnx
from models.networks.parametrizations.constraint import constrain
from models.networks.parametrizations.lipschitz import aol
from models.networks.parametrizations.orthogonal import (
    bjorck,
    block_reflector,
    cayley,
    cholesky,
    exponential,
    qr,
)
from models.networks.residuals import ContractiveResidual, Mix
from models.networks.shift_block import ShiftBlock
from models.networks.shipping import shipped
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.reading.reader import read_program
from tests.oracles import images

TOLERANCE = 1e-5


def dense(function, before, after, **dials):
    return constrain(nn.Linear(before, after), function, **dials)


def rows():
    return (12, 1, 1), [
        nn.Flatten(),
        dense(bjorck, 12, 16),
        MaxMin(),
        dense(cayley, 16, 16),
        GroupSort(4),
        dense(exponential, 16, 12),
        Householder(12, images=False),
        dense(qr, 12, 12),
        full_sort(12),
        dense(cholesky, 12, 16),
        BoundedPReLU(16),
        dense(block_reflector, 16, 16, inverse=lambda weight: weight[:, :6]),
        AbsHalf(16),
        ContractiveResidual(16, 20, rule="sll"),
        ContractiveResidual(16, 9, rule="cpl"),
        Mix(hold(nn.Linear(16, 16))),
        hold(nn.Linear(16, 8)),
    ]


def convolutions():
    return (3, 8, 8), [
        BlockConvolution(3, 8, side=3, padding=1),
        AbsHalf(8),
        BlockConvolution(8, 12, side=3, stride=2, padding=1, groups=2),
        Householder(12),
        BlockConvolution(12, 12, side=3, dilation=2, padding=2),
        MaxMin(),
        hold(nn.Conv2d(12, 12, 3, padding=1), manifold=Kernels((4, 4))),
        GroupSort(3),
        constrain(nn.Conv2d(12, 10, 3, padding=1), aol),
        CayleyConvolution(10, 10, side=3, image=(4, 4)),
        hold(nn.Conv2d(10, 16, 2, stride=2), manifold=ReshapedKernels()),
        nn.Flatten(),
    ]


def pixels():
    return (1, 7, 8), [
        SpaceToDepth(2),
        hold(nn.Conv2d(4, 16, 1), manifold=ReshapedKernels()),
        AbsHalf(16),
        ShiftBlock(16, image=(4, 4), shifted=1 / 8),
        AbsHalf(16),
        ContractiveResidual(16, 8, rule="sll", image=(4, 4)),
        ContractiveResidual(16, 8, rule="cpl", image=(4, 4)),
        Mix(hold(nn.Conv2d(16, 16, 1), manifold=ReshapedKernels())),
        Centring(),
        L2Pool(2),
        BoundedPReLU(16),
        L2Pool(),
    ]


def started(layers):
    """The layers with numbers: biases, angles and slopes that differ, noise on what is held."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(*layers)
    for layer in network.modules():
        if isinstance(layer, Starts):
            layer.start(generator=generator)
        for name, manifold in manifolds(layer).items():
            weight = layer.get_parameter(name)
            weight.data = manifold.random(weight, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return network


CASES = [rows, convolutions, pixels]


@pytest.fixture(scope="module", params=CASES, ids=lambda make: make.__name__)
def proven(request):
    shape, layers = request.param()
    network = started(layers)
    plain = shipped(network)
    exported = nn.Sequential(plain, nn.Linear(plain(torch.zeros(1, *shape)).shape[1], 4)).eval()
    content = export_onnx(exported, shape)
    return network, exported, content, read_program(content)


def test_the_file_is_the_network(proven):
    _, exported, content, program = proven
    x = images(9, program.input_shape)
    assert check_parity(content, exported, x) < 1e-5


def test_what_ships_is_what_trained_up_to_the_projection(proven):
    network, exported, _, program = proven
    settled = copy.deepcopy(network)
    with torch.no_grad():
        for held in held_weights(settled):
            held.parameter.copy_(held.manifold.end(held.parameter))
    x = torch.from_numpy(images(9, program.input_shape))
    torch.testing.assert_close(exported[0](x), settled(x), atol=2e-5, rtol=1e-4)


def test_no_step_of_the_proof_is_above_1(proven):
    _, _, _, program = proven
    for step in walk(program).steps[:-1]:
        assert step.stretch.factor <= 1 + TOLERANCE, (step.name, step.kind)
    bounds = prove(program)
    assert bounds.feature_bound <= 1 + TOLERANCE
    assert bounds.refused_float32 is None
    assert bounds.assumptions == ()


def test_a_layer_that_stretches_is_seen():
    layer = started([nn.Flatten(), hold(nn.Linear(6, 6))])
    plain = shipped(layer)
    plain[1].weight.data *= 1.001
    exported = nn.Sequential(plain, nn.Linear(6, 2)).eval()
    assert prove(read_program(export_onnx(exported, (6, 1, 1)))).feature_bound > 1 + 10 * TOLERANCE
