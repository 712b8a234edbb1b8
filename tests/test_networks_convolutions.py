import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orthogonium.layers.conv.AOC.fast_block_ortho_conv import block_orth, fast_matrix_conv
from orthogonium.layers.conv.SLL.sll_layer import SDPBasedLipschitzDense, SDPBasedLipschitzResBlock
from torch.nn import functional

from models.errors import CertifyError
from models.networks.convolutions.block import BlockConvolution, behind_two_taps
from models.networks.convolutions.by_frequency import CayleyConvolution
from models.networks.convolutions.near_orthogonal import Kernels, ResidualKernels
from models.networks.orthogonal import random_orthogonal
from models.networks.parametrizations.lipschitz import sll_scales
from models.networks.residuals import ContractiveResidual


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def started(layer, *, seed=0):
    layer.start(generator=torch.Generator().manual_seed(seed))
    return layer


def singular_values(function, *shape):
    """Of a linear map as a dense matrix, one column to a basis image."""
    size = shape[0] * shape[1] * shape[2]
    basis = torch.eye(size).view(-1, *shape)
    return torch.linalg.svdvals(function(basis).flatten(1).double())


def around(layer):
    """A convolution over the image continued around its edges, without its bias."""
    plain = layer.shipped()
    reach = (layer.side - 1) * layer.dilation

    def run(x):
        rows, columns = (torch.arange(side + reach) % side for side in x.shape[2:])
        continued = x[:, :, rows][..., columns]
        return functional.conv2d(
            continued, plain.weight, None, layer.stride, 0, layer.dilation, layer.groups
        )

    return run


@given(
    inside=st.integers(1, 4),
    outside=st.integers(1, 9),
    groups=st.integers(1, 2),
    stride=st.integers(1, 2),
    beyond=st.integers(0, 2),
    dilation=st.sampled_from([1, 3]),
)
@settings(max_examples=12)
def test_a_block_convolution_is_orthogonal_around_the_edges(
    inside, outside, groups, stride, beyond, dilation
):
    layer = BlockConvolution(
        inside * groups,
        outside * groups,
        side=stride + beyond,
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    values = singular_values(around(started(layer)), inside * groups, 2 * stride, 3 * stride) - 1
    wide = outside < inside * stride**2
    full = min(len(values), outside * groups * 6) if wide else len(values)
    assert values[:full].abs().max() < 5e-6


def test_padded_with_zeros_it_stretches_nothing():
    layer = started(BlockConvolution(3, 6, side=3, padding=1))
    values = singular_values(layer, 3, 5, 5)
    assert 0.3 < values.min() < values.max() < 1 + 1e-6


def test_every_factor_of_a_block_convolution_has_a_gradient():
    layer = started(BlockConvolution(2, 12, side=3, stride=2, padding=1))
    loss = (layer(drawn(4, 2, 6, 6)) * drawn(4, 12, 3, 3, seed=1)).sum()
    loss.backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().min() > 0, name


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"side": 2, "stride": 3}, "side 2 with stride 3"),
        ({"side": 3, "stride": 2, "dilation": 2}, "stride 2 and dilation 2"),
        ({"side": 3, "groups": 4}, "6 channels to 8 in 4 groups"),
    ],
)
def test_what_no_orthogonal_kernel_can_do_is_refused(dials, message):
    with pytest.raises(CertifyError, match=message):
        BlockConvolution(6, 8, **dials)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axis", [1, 2])
def test_two_taps_and_then_a_kernel_are_one_as_orthogonium_composes_them(groups, axis):
    span = started(BlockConvolution(4 * groups, 4 * groups, side=2, groups=groups)).spans[:, 0, 0]
    P = span.detach() @ span.detach().mT
    first = torch.stack((P, torch.eye(4) - P), dim=-1).unsqueeze(5 - axis).flatten(0, 1)
    second = drawn(5 * groups, 4, 2, 3, seed=1)
    taps = second.view(groups, 5, 4, 2, 3).permute(0, 3, 4, 1, 2)
    ours = behind_two_taps(taps, span.detach(), axis=axis).permute(0, 3, 4, 1, 2).flatten(0, 1)
    torch.testing.assert_close(ours, fast_matrix_conv(first, second, groups=groups))
    x = drawn(2, 4 * groups, 9, 9, seed=2)
    once = functional.conv2d(x, first, groups=groups)
    twice = functional.conv2d(once, second, groups=groups)
    torch.testing.assert_close(functional.conv2d(x, ours, groups=groups), twice)


def test_two_projectors_are_orthogoniums_block():
    layer = BlockConvolution(6, 6, side=2)
    started(layer)
    with torch.no_grad():
        layer.reshaped.copy_(torch.eye(6)[None])
    along, across = (layer.spans[0, 0, axis] @ layer.spans[0, 0, axis].T for axis in (0, 1))
    theirs = block_orth(along[None, None], across[None, None])[0]
    torch.testing.assert_close(layer.kernel(), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("image", [(4, 5), (6, 6), (1, 3)])
@pytest.mark.parametrize(("channels", "outputs"), [(3, 3), (2, 5), (4, 2)])
def test_a_cayley_convolution_is_orthogonal_and_ships_as_one_kernel(image, channels, outputs):
    layer = started(CayleyConvolution(channels, outputs, side=min(3, *image), image=image))
    values = singular_values(layer, channels, *image)
    full = min(channels, outputs) * image[0] * image[1]
    assert (values[:full] - 1).abs().max() < 1e-5
    layer.bias.data = drawn(outputs)
    x = drawn(2, channels, *image)
    torch.testing.assert_close(layer.shipped()(x), layer(x), atol=1e-5, rtol=0)


def test_near_orthogonal_kernels_start_orthogonal_and_end_with_norm_1_at_most():
    manifold = Kernels((6, 7))
    start = manifold.random(torch.empty(12, 8, 3, 3), generator=torch.Generator().manual_seed(0))
    assert abs(manifold.norm(start.double()) - 1) < 1e-6
    pulled, drifted = manifold.step(start)
    torch.testing.assert_close(pulled, start, atol=1e-6, rtol=0)
    assert float(drifted) < 1e-5
    kernel = start + 0.03 * drawn(12, 8, 3, 3, seed=1)
    assert manifold.norm(kernel.double()) > 1.2
    end = manifold.end(kernel).float()
    values = singular_values(lambda x: functional.conv2d(x, end, padding=1), 8, 6, 7)
    assert values.max() <= 1 + 1e-6
    assert manifold.norm(end.double()) <= 1 + 1e-6


def test_a_step_by_frequency_is_the_step_of_the_dense_matrix_where_nothing_is_cut_off():
    kernel = random_orthogonal(5, 5, generator=torch.Generator().manual_seed(0)) * 1.2
    pulled, drifted = Kernels((4, 4)).step(kernel[:, :, None, None])
    assert float(drifted) == pytest.approx(0.44, rel=1e-4)
    expected = 1.5 * kernel - 0.5 * kernel @ kernel.T @ kernel
    torch.testing.assert_close(pulled[:, :, 0, 0], expected)


def test_a_residual_kernel_begins_as_the_identity():
    kernel = ResidualKernels((4, 4)).random(torch.empty(3, 3, 3, 3), generator=torch.Generator())
    x = drawn(2, 3, 4, 4)
    assert torch.equal(functional.conv2d(x, kernel, padding=1), x)


def test_sll_layers_are_orthogoniums_for_the_same_numbers():
    torch.manual_seed(0)
    theirs = SDPBasedLipschitzDense(6, 6, 9)
    ours = ContractiveResidual(6, 9, rule="sll")
    parameters = dict(theirs.named_parameters())
    assert set(parameters) >= {"bias", "q"}
    kernel = next(p for p in parameters.values() if p.dim() == 2 and p.shape in ((9, 6), (6, 9)))
    with torch.no_grad():
        ours.kernel.copy_(kernel if kernel.shape == (9, 6) else kernel.T)
        ours.hidden_bias.copy_(theirs.bias.flatten())
        ours.logarithms.copy_(theirs.q.flatten())
    x = drawn(4, 6)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)


def test_sll_convolutions_move_as_orthogoniums_do():
    torch.manual_seed(0)
    theirs = SDPBasedLipschitzResBlock(4, 2)
    ours = ContractiveResidual(4, 8, rule="sll", image=(5, 5))
    with torch.no_grad():
        ours.logarithms.zero_()  # its own cancel: both are on the same axis
        ours.kernel.copy_(theirs.parametrizations.kernel.original)
        sums = 2 / sll_scales(ours.kernel, ours.logarithms)
        ours.hidden_bias.copy_(theirs.bias.flatten() * sums.sqrt())
    x = drawn(2, 4, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)
