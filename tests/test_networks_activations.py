import numpy as np
import pytest
import torch
from deel import torchlip
from hypothesis import given
from hypothesis import strategies as st
from orthogonium.layers import LayerCentering2D
from orthogonium.layers import MaxMin as TheirMaxMin
from orthogonium.layers.custom_activations import HouseHolder as TheirHouseholder
from torch import nn

from models.errors import CertifyError
from models.networks.activations import (
    AbsHalf,
    BoundedPReLU,
    GroupSort,
    Householder,
    MaxMin,
    full_sort,
)
from models.networks.geometry import Centring, L2Pool, Shift, SpaceToDepth
from models.networks.orthogonal import random_orthogonal
from models.networks.shipping import shipped
from models.networks.views import CentredAxes, CentredImage

WIDTHS = [1, 2, 5, 8]
KEEPING = [AbsHalf(12), MaxMin(), GroupSort(3), full_sort(12), Householder(12), BoundedPReLU(12)]


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def turned(layer):
    """In float64, with angles and slopes that differ from each other."""
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(drawn(*parameter.shape, seed=9))
    return layer


@pytest.mark.parametrize("width", WIDTHS)
def test_the_prelu_that_ships_is_the_activation_that_trains(width):
    features = drawn(20, width, dtype=torch.float32)
    assert torch.equal(AbsHalf(width).shipped()(features), AbsHalf(width)(features))


@pytest.mark.parametrize("layer", KEEPING, ids=lambda layer: type(layer).__name__)
@given(seed=st.integers(0, 2**31), step=st.sampled_from([1e-6, 0.1, 3.0]))
def test_no_step_is_stretched_and_a_short_one_keeps_its_length(layer, seed, step):
    layer = turned(layer) if layer.training else layer
    layer.eval()
    a = drawn(20, 12, 2, seed=seed)
    moved = step * drawn(20, 12, 2, seed=seed + 1)
    stretch = (layer(a + moved) - layer(a)).flatten(1).norm(dim=1) / moved.flatten(1).norm(dim=1)
    assert stretch.max() <= 1 + 1e-9
    if step < 1e-3 and not isinstance(layer, BoundedPReLU):
        assert stretch.median() >= 1 - 1e-6


@pytest.mark.parametrize("layer", KEEPING, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("space", [(), (3, 2)])
def test_what_ships_is_what_trains_and_gradients_are_alive(layer, space):
    if isinstance(layer, Householder):
        layer = Householder(12, images=bool(space))
    features = drawn(7, 12, *space, dtype=torch.float32).requires_grad_()
    layer = layer.float()
    out = layer(features)
    torch.testing.assert_close(shipped(layer)(features), out, atol=1e-6, rtol=0)
    (out * drawn(*out.shape, seed=1, dtype=torch.float32)).sum().backward()
    for tensor in (features, *layer.parameters()):
        assert tensor.grad.abs().min() > 0


def test_activations_are_the_peers():
    rows, image = drawn(9, 12), drawn(4, 12, 3, 3)
    assert torch.equal(MaxMin()(image), TheirMaxMin()(image))
    assert torch.equal(GroupSort(4)(rows), torchlip.functional.group_sort(rows, 4))
    assert torch.equal(full_sort(12)(rows), torchlip.functional.full_sort(rows))
    torch.testing.assert_close(
        Centring()(image), LayerCentering2D(12).double()(image), atol=1e-12, rtol=0
    )


def test_householder_is_orthogoniums_before_that_halves_it():
    """Its activation is divided by √2 for safety; the reflection needs no such factor."""
    image = drawn(4, 12, 3, 3)
    ours, theirs = turned(Householder(12)), TheirHouseholder(12).double()
    with torch.no_grad():
        theirs.theta.copy_(ours.angles.view(1, -1, 1, 1))
    cosine, sine = (f(ours.angles).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    a, b = (theirs(image) * 2**0.5).chunk(2, dim=1)  # it reflects the other side of the line
    mirrored = torch.cat((cosine * a + sine * b, sine * a - cosine * b), dim=1)
    torch.testing.assert_close(ours(image), mirrored, atol=1e-6, rtol=0)


def test_householder_begins_as_maxmin():
    rows = drawn(9, 12, dtype=torch.float32)
    torch.testing.assert_close(Householder(12)(rows), MaxMin()(rows), atol=1e-6, rtol=0)


def test_householder_without_pairs_is_refused():
    with pytest.raises(CertifyError, match="found 7 features"):
        Householder(7)


def test_a_bounded_slope_is_a_prelu_of_torchlip():
    layer = BoundedPReLU(3)
    layer.angles.data = torch.tensor([-9.0, 0.5, 2.0])
    rows = drawn(9, 3, dtype=torch.float32)
    for place, slope in enumerate(torch.sin(layer.angles.detach())):
        theirs = torchlip.functional.lipschitz_prelu(rows[:, [place]], slope.view(1))
        torch.testing.assert_close(layer(rows)[:, [place]], theirs)


def test_l2_pooling_is_torchlips():
    image = drawn(3, 4, 6, 8)
    theirs = torchlip.ScaledL2NormPool2d(2)(image)
    torch.testing.assert_close(L2Pool(2)(image), theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(L2Pool()(image), image.flatten(2).norm(dim=2))


def test_l2_pooling_of_zeros_has_a_gradient_of_0():
    image = torch.zeros(1, 2, 4, 4, requires_grad=True)
    L2Pool(2)(image).sum().backward()
    assert torch.equal(image.grad, torch.zeros_like(image))


@pytest.mark.parametrize("layer", [SpaceToDepth(2), SpaceToDepth(3), Shift(9, share=1 / 8)])
def test_moves_keep_every_entry_once(layer):
    image = torch.arange(1.0, 1 + 2 * 9 * 5 * 7).view(2, 9, 5, 7)
    out = layer(image)
    kept = out[out > 0].sort().values
    assert torch.equal(kept, image.flatten())
    with_edges = torch.zeros_like(image)
    with_edges[:, :, -1, -1] = 1
    assert layer(with_edges).sum() == with_edges.sum()


def test_a_shift_moves_its_shares_and_leaves_the_rest():
    image = torch.zeros(1, 8, 3, 3)
    image[:, :, 1, 1] = 1
    out = Shift(8, share=1 / 8)(image)[0]
    places = [tuple(np.argwhere(channel.numpy())[0]) for channel in out]
    assert places == [(2, 1), (0, 1), (1, 2), (1, 0), *[(1, 1)] * 4]


def test_centred_axes_are_coordinates_and_never_stretch():
    generator = torch.Generator().manual_seed(0)
    axes = random_orthogonal(3, 8, generator=generator).double()
    centre = torch.rand(8, generator=generator).double()
    view = CentredAxes(centre, axes)
    a, b = torch.rand(2, 50, 8, generator=generator).double()
    assert view.components == 3
    assert torch.equal(view(centre[None]), torch.zeros(1, 3).double())
    assert ((view(a) - view(b)).norm(dim=1) <= (a - b).norm(dim=1) * (1 + 1e-6)).all()


def test_without_axes_the_view_is_the_centring_alone():
    view = CentredAxes(torch.full((4,), 0.5), None)
    assert view.components == 4
    assert torch.equal(view(torch.ones(1, 4)), torch.full((1, 4), 0.5))
    image = CentredImage(torch.full((1, 2, 2), 0.5))
    assert torch.equal(image(torch.ones(3, 1, 2, 2)), torch.full((3, 1, 2, 2), 0.5))


def test_a_network_of_them_is_shipped_layer_by_layer():
    network = nn.Sequential(AbsHalf(4), nn.Sequential(BoundedPReLU(4), L2Pool()))
    plain = shipped(network)
    assert [type(layer).__name__ for layer in (plain[0], *plain[1])] == [
        "PReLU",
        "PReLU",
        "RootOfSquares",
    ]
    assert isinstance(network[0], AbsHalf)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_fold_has_the_gradient_of_its_formula_and_leaves_its_input_alone(memory_format):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 5, 4, 2, generator=generator).contiguous(memory_format=memory_format)
    images[0, 0, 0, 0] = 0.0
    pull = torch.randn(images.shape, generator=generator)
    features, kept = images.clone().requires_grad_(), images.clone()
    found = AbsHalf(5)(features)
    asked = torch.cat((features[:, :3].abs(), features[:, 3:]), dim=1)
    slopes = [torch.autograd.grad(value, features, pull)[0] for value in (found, asked)]
    assert torch.equal(found, asked)
    assert torch.equal(*slopes)
    assert torch.equal(features, kept)
