import pytest
import torch

from models.networks.activations import AbsHalf
from models.networks.orthogonal import random_orthogonal
from models.networks.views import CentredAxes

WIDTHS = [1, 2, 5, 8]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_prelu_that_ships_is_the_activation_that_trains(width):
    features = torch.randn(20, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(AbsHalf(width).shipped()(features), AbsHalf(width)(features))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_activation_never_stretches_and_keeps_every_step_that_crosses_no_fold(width):
    a, b = torch.randn(2, 100, width, generator=torch.Generator().manual_seed(0)).double()
    activation = AbsHalf(width)
    moved = (activation(a) - activation(b)).norm(dim=1)
    assert (moved <= (a - b).norm(dim=1) * (1 + 1e-15)).all()
    step = 1e-9 * torch.ones_like(a)
    kept = (activation(a + step) - activation(a)).norm(dim=1)
    torch.testing.assert_close(kept, step.norm(dim=1), rtol=1e-6, atol=0)


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
