"""Convolutions: the bound is never below the dense matrix, and the wrong rules of the field are."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.growth import Growth
from models.proof.lipschitz import walk
from models.proof.norms import torus
from models.proof.norms.torus import Axis, convolution_norm_bound, torus_norm_bound
from models.proof.operators import convolution
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from models.proof.upward import FLOAT32
from tests.oracles import images, onnx_file

node = helper.make_node
SLACK = 1e-12
"""Rounding of the oracle's own SVD, relative."""


def dense_matrix(kernel, *, side, stride, pads, dilation, groups):
    """The map as a matrix, written entry by entry: rows are (channel, window), columns pixels."""
    outputs, per_group, *taps = kernel.shape
    channels, axes = per_group * groups, len(taps)
    begins, ends = pads[:axes], pads[axes:]
    windows = [
        (side[a] + begins[a] + ends[a] - (taps[a] - 1) * dilation[a] - 1) // stride[a] + 1
        for a in range(axes)
    ]
    matrix = np.zeros((outputs, *windows, channels, *side))
    for out, window in itertools.product(range(outputs), np.ndindex(*windows)):
        first = out // (outputs // groups) * per_group
        for offset, tap in itertools.product(range(per_group), np.ndindex(*taps)):
            pixel = [window[a] * stride[a] + tap[a] * dilation[a] - begins[a] for a in range(axes)]
            if all(0 <= pixel[a] < side[a] for a in range(axes)):
                matrix[(out, *window, first + offset, *pixel)] += kernel[(out, offset, *tap)]
    return matrix.reshape(outputs * math.prod(windows), -1)


@st.composite
def convolutions(draw, *, axes=None):
    """Kernel and geometry, and the axes as the bound wants them."""
    axes = axes or draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group, out_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    taps = [draw(st.integers(1, 4)) for _ in range(axes)]
    stride = [draw(st.integers(1, 3)) for _ in range(axes)]
    dilation = [draw(st.integers(1, 2)) for _ in range(axes)]
    reach = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
    pads = [draw(st.integers(0, r)) for r in reach * 2]
    side = [draw(st.integers(max(1, r - pads[a] - pads[axes + a]), 7)) for a, r in enumerate(reach)]
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = (groups * out_group, per_group, *taps)
    kernel = rng.standard_normal(shape) if draw(st.booleans()) else np.ones(shape)
    geometry = {"side": side, "stride": stride, "pads": pads, "dilation": dilation}
    return kernel.astype(np.float32), geometry | {"groups": groups}


def file_of(kernel, geometry, *, transposed=False, **extra):
    """Conv or ConvTranspose, then Flatten."""
    axes = len(geometry["stride"])
    attributes = {
        "strides": geometry["stride"],
        "pads": geometry["pads"],
        "dilations": geometry["dilation"],
        "group": geometry["groups"],
        **extra,
    }
    channels = kernel.shape[0] if transposed else kernel.shape[1] * geometry["groups"]
    kind = "ConvTranspose" if transposed else "Conv"
    nodes = [node(kind, ["x", "K"], ["h"], **attributes), node("Flatten", ["h"], ["logits"])]
    shape = (channels, *geometry["side"])
    assert len(shape) == axes + 1
    return onnx_file(nodes, shape=shape, weights={"K": kernel})


def norm(matrix):
    return np.linalg.norm(matrix, 2) if matrix.size else 0.0


@given(convolutions())
def test_a_convolution_is_its_dense_matrix_and_never_stretches_more_than_its_bound(case):
    kernel, geometry = case
    matrix = dense_matrix(kernel, **geometry)
    if len(matrix) < 2:
        return
    content = file_of(kernel, geometry)
    program = read_program(content)
    x = images(2, program.input_shape)
    expected = x.reshape(2, -1).astype(float) @ matrix.T
    np.testing.assert_allclose(logits_in_float64(program, x), expected, atol=1e-9)
    np.testing.assert_allclose(run_onnx(content, x)["logits"], expected, atol=1e-4)
    found = program.operators[0].stretch(program.shapes[0])
    assert found.factor >= norm(matrix) * (1 - SLACK)
    assert found.absolute >= norm(np.abs(matrix)) * (1 - SLACK)


@given(convolutions(), st.integers(0, 2))
def test_a_transposed_convolution_is_the_transposed_matrix(case, more):
    kernel, geometry = case
    axes = len(geometry["stride"])
    more = [min(more, s - 1) for s in geometry["stride"]]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], geometry["dilation"], strict=True)]
    begins, ends = geometry["pads"][:axes], geometry["pads"][axes:]
    sides = [
        geometry["stride"][a] * (geometry["side"][a] - 1) + reach[a] + more[a] - begins[a] - ends[a]
        for a in range(axes)
    ]
    if min(sides) < 1 or math.prod(sides) * kernel.shape[1] * geometry["groups"] < 2:
        return
    content = file_of(kernel, geometry, transposed=True, output_padding=more)
    program = read_program(content)
    x = images(2, program.input_shape)
    found = logits_in_float64(program, x)
    np.testing.assert_allclose(found, run_onnx(content, x)["logits"], atol=1e-4)
    basis = np.eye(program.input_size, dtype=np.float32).reshape(-1, *program.input_shape)
    matrix = logits_in_float64(program, basis).T
    bound = program.operators[0].stretch(program.shapes[0])
    assert bound.factor >= norm(matrix) * (1 - SLACK)
    assert bound.absolute >= norm(np.abs(matrix)) * (1 - SLACK)


@st.composite
def circular(draw):
    """A wrap Pad, then a Conv without pads."""
    side, taps = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    reach = (taps - 1) * dilation + 1
    before, after = draw(st.integers(0, side)), draw(st.integers(0, side))
    after += max(0, reach - side - before - after)
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kernel = rng.standard_normal((2, 2, taps)) if draw(st.booleans()) else np.ones((2, 2, taps))
    return kernel.astype(np.float32), side, stride, dilation, before, min(after, side)


def circular_file(kernel, side, stride, dilation, before, after):
    nodes = [
        node("Pad", ["x", "p"], ["w"], mode="wrap"),
        node("Conv", ["w", "K"], ["h"], strides=[stride], dilations=[dilation]),
        node("Flatten", ["h"], ["logits"]),
    ]
    weights = {"p": np.array([0, 0, before, 0, 0, after], dtype=np.int64), "K": kernel}
    return onnx_file(nodes, shape=(2, side), weights=weights)


@given(circular())
def test_a_circular_convolution_never_stretches_more_than_its_bound(case):
    kernel, side, _, dilation, before, after = case
    if (kernel.shape[2] - 1) * dilation + 1 > side + before + after:
        return
    program = read_program(circular_file(*case))
    basis = np.eye(program.input_size, dtype=np.float32).reshape(-1, *program.input_shape)
    matrix = logits_in_float64(program, basis).T
    assert walk(program).steps[-1].lipschitz_bound >= norm(matrix) * (1 - SLACK)


def test_a_circular_convolution_is_bounded_exactly_on_its_own_torus():
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)
    program = read_program(circular_file(kernel, 5, 1, 1, 1, 1))
    basis = np.eye(10, dtype=np.float32).reshape(-1, 2, 5)
    exact = norm(logits_in_float64(program, basis).T)
    assert walk(program).steps[0].kind == "circular Conv"
    assert walk(program).steps[-1].lipschitz_bound <= exact * (1 + 1e-6)


def bound_of(kernel, *, side, torus_side=None, pad=1, stride=1):
    taps = kernel.shape[-1]
    windows = (side + 2 * pad - taps) // stride + 1
    axes = (Axis(side, windows, taps, stride, 1, pad),) * 2
    if torus_side is None:
        return convolution_norm_bound(kernel[None], axes)
    return torus_norm_bound(kernel[None], axes, (torus_side,) * 2)


def exact_norm(kernel, side, *, pad=1, steps=400):
    """Power iteration in float64, run until it stands still: from below, and as good as exact."""
    import torch

    weight = torch.from_numpy(kernel.astype(np.float64))
    x = torch.randn(1, kernel.shape[1], side, side, dtype=torch.float64,
                    generator=torch.Generator().manual_seed(0))  # fmt: skip
    for _ in range(steps):
        y = torch.nn.functional.conv2d(x, weight, padding=pad)
        x = torch.nn.functional.conv_transpose2d(y, weight, padding=pad)
        length = x.norm()
        x = x / length
    return float(length.sqrt())


def test_random_3x3_kernels_at_32x32_are_tight_to_one_percent():
    kernel = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
    exact = exact_norm(kernel, 32)
    assert exact * (1 - 1e-9) <= bound_of(kernel, side=32) <= 1.01 * exact


def test_a_kernel_as_large_as_its_stride_is_exact():
    kernel = np.random.default_rng(0).standard_normal((5, 3, 2, 2)).astype(np.float32)
    found = bound_of(kernel, side=8, pad=0, stride=2)
    assert found == pytest.approx(norm(kernel.reshape(5, -1)), rel=1e-9)


def test_alarm_the_torus_of_the_image_alone_is_too_small_for_zero_padding():
    """On N = n few frequencies are looked at, and the worst of a random kernel lies between."""
    worst = 0.0
    for seed in range(200):
        kernel = np.random.default_rng(seed).standard_normal((1, 1, 3, 3)).astype(np.float32)
        matrix = dense_matrix(
            kernel, side=[2, 2], stride=[1, 1], pads=[1] * 4, dilation=[1, 1], groups=1
        )
        assert bound_of(kernel, side=2) >= norm(matrix) * (1 - SLACK)
        worst = max(worst, norm(matrix) / bound_of(kernel, side=2, torus_side=2))
    assert worst > 1.05


def test_alarm_the_product_over_groups_is_no_bound():
    kernel = 0.25 * np.ones((2, 1, 1), dtype=np.float32)
    geometry = {"side": [4], "stride": [1], "pads": [0, 0], "dilation": [1], "groups": 2}
    true = norm(dense_matrix(kernel, **geometry))
    program = read_program(file_of(kernel, geometry))
    assert program.operators[0].stretch((2, 4)).factor >= true == pytest.approx(0.25)
    assert true > 0.25 * 0.25


def test_alarm_a_kernel_larger_than_the_torus_has_to_be_folded():
    kernel = np.ones((1, 1, 7, 7), dtype=np.float32)
    folded = bound_of(kernel, side=3, torus_side=3)
    cropped = bound_of(kernel[..., :3, :3], side=3, torus_side=3)
    assert folded == pytest.approx(49, rel=1e-6)
    assert folded > 5 * cropped


def test_alarm_wrap_pads_beyond_a_window_repeat_rows():
    kernel = np.ones((2, 2, 1), dtype=np.float32)
    program = read_program(circular_file(kernel, 3, 1, 1, 3, 3))
    basis = np.eye(6, dtype=np.float32).reshape(-1, 2, 3)
    true = norm(logits_in_float64(program, basis).T)
    on_its_torus = torus_norm_bound(kernel[None], (Axis(3, 9, 1),), (3,))
    assert walk(program).steps[-1].lipschitz_bound >= true > 1.7 * on_its_torus


def test_alarm_a_border_corrected_coefficient_is_no_bound():
    """A kernel of norm 1 as a matrix, times √(n / (k n - ⌊k/2⌋ ⌈k/2⌉)) along each axis."""
    side, taps, half = 16, 3, 1
    coefficient = side / (taps * side - half * (half + 1))
    kernel = np.full((1, 1, taps, taps), coefficient / taps, dtype=np.float32)
    true = exact_norm(kernel, side)
    assert bound_of(kernel, side=side) >= true * (1 - 1e-9)
    assert true == pytest.approx(1.020, abs=1e-3)  # and was claimed to be 1


def test_alarm_a_bound_that_leaves_out_frequencies_is_caught(monkeypatch):
    kernel = np.random.default_rng(1).standard_normal((2, 2, 3, 3)).astype(np.float32)
    honest = torus._half_of_the_frequencies
    monkeypatch.setattr(
        torus, "_half_of_the_frequencies", lambda *given: (f[:3] for f in honest(*given))
    )

    def torus_alone(kernel, axes):
        return torus_norm_bound(kernel, axes, tuple(axis.torus for axis in axes))

    monkeypatch.setattr(convolution, "convolution_norm_bound", torus_alone)
    geometry = {"side": [5, 5], "stride": [1, 1], "pads": [1] * 4, "dilation": [1, 1], "groups": 1}
    program = read_program(file_of(kernel, geometry))
    factor = program.operators[0].stretch(program.shapes[0]).factor
    assert factor < norm(dense_matrix(kernel, **geometry))


REFUSED = {
    "kernel for other channels": (["x", "K"], {}, (3, 5, 5), "for 3 channels"),
    "kernel_shape of another": (["x", "K"], {"kernel_shape": [2, 2]}, (2, 5, 5), "kernel_shape"),
    "groups that do not divide": (["x", "K"], {"group": 3}, (6, 5, 5), "in 3 groups"),
    "negative pads": (["x", "K"], {"pads": [-1, 0, 0, 0]}, (2, 5, 5), "pads"),
    "a kernel that does not fit": (["x", "K"], {}, (2, 2, 2), "one that fits"),
    "a bias of another length": (["x", "K", "b"], {}, (2, 5, 5), "a bias of shape"),
    "a kernel that depends on the input": (["x", "x"], {}, (2, 5, 5), "depends on the input"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_fixed_meaning_is_refused(name):
    operands, attributes, shape, message = REFUSED[name]
    nodes = [node("Conv", operands, ["h"], **attributes), node("Flatten", ["h"], ["logits"])]
    weights = {"K": np.ones((4, 2, 3, 3), "f4"), "b": np.ones(3, "f4")}
    with pytest.raises(ModelError, match=message):
        read_program(onnx_file(nodes, shape=shape, weights=weights))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_automatic_pads_are_those_of_onnx_runtime(auto_pad, stride):
    kernel = np.random.default_rng(0).standard_normal((2, 3, 4, 2)).astype(np.float32)
    content = onnx_file(
        [
            node("Conv", ["x", "K", "b"], ["h"], auto_pad=auto_pad, strides=[stride, stride]),
            node("Flatten", ["h"], ["logits"]),
        ],
        shape=(3, 7, 6),
        weights={"K": kernel, "b": np.float32([0.5, -1])},
    )
    x = images(3, (3, 7, 6))
    found = logits_in_float64(read_program(content), x)
    np.testing.assert_allclose(found, run_onnx(content, x)["logits"], atol=1e-5)


def normalised(gamma, variance, *, epsilon=1e-3, **extra):
    rng = np.random.default_rng(0)
    weights = {"g": gamma, "b": rng.standard_normal(3), "m": rng.standard_normal(3), "v": variance}
    nodes = [
        node("BatchNormalization", ["x", "g", "b", "m", "v"], ["h"], epsilon=epsilon, **extra),
        node("Flatten", ["h"], ["logits"]),
    ]
    stored = {name: np.float32(values) for name, values in weights.items()}
    return onnx_file(nodes, shape=(3, 2, 2), weights=stored)


def test_a_batch_normalization_is_a_factor_to_a_channel():
    gamma, variance = np.float32([1, -2, 0.5]), np.float32([0.5, 1, 4])
    content = normalised(gamma, variance)
    program, x = read_program(content), images(4, (3, 2, 2))
    found = logits_in_float64(program, x)
    np.testing.assert_allclose(found, run_onnx(content, x)["logits"], atol=1e-5)
    true = np.abs(gamma / np.sqrt(variance + 1e-3)).max()
    bound = walk(program).steps[-1].lipschitz_bound
    assert true * (1 - 1e-9) <= bound <= true * (1 + 1e-6)
    assert prove(program).float32 is not None


def test_a_batch_normalization_without_a_variance_is_refused_or_not_covered():
    with pytest.raises(ModelError, match="var"):
        read_program(normalised([1, 1, 1], [-0.001, 1, 1], epsilon=1e-3))
    tiny = prove(read_program(normalised([1, 1, 1], [0, 1, 1], epsilon=1e-38)))
    assert tiny.float32 is None
    with pytest.raises(ModelError, match="training mode"):
        read_program(normalised([1, 1, 1], [1, 1, 1], training_mode=1))


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_windows_that_would_not_fit_into_memory_are_refused(kind):
    far = 2**30
    attributes = {"dilations": [far], "pads": [far, far]}
    nodes = [node(kind, ["x", "K"], ["h"], **attributes), node("Flatten", ["h"], ["logits"])]
    content = onnx_file(nodes, shape=(1, 4), weights={"K": np.ones((1, 1, 3), "f4")})
    with pytest.raises(ModelError, match="accepted are at most"):
        read_program(content)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("opset", [13, 17, 20, 22, 23])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_opset_and_number_of_axes_is_what_onnx_runtime_computes(transposed, opset, axes):
    kernel = np.random.default_rng(axes).standard_normal((4, 2, *(3, 2, 3)[:axes]), "f4")
    kind, out = ("ConvTranspose", 4) if transposed else ("Conv", 4)
    attributes = {"group": 2, "strides": [2, 1, 1][:axes], "pads": [1] * (2 * axes)}
    nodes = [
        node(kind, ["x", "K", "b"], ["h"], kernel_shape=kernel.shape[2:], **attributes),
        node("Flatten", ["h"], ["logits"]),
    ]
    weights = {"K": kernel, "b": np.arange(out, dtype=np.float32)}
    content = onnx_file(nodes, shape=(4, *(5, 4, 3)[:axes]), weights=weights, opset=opset)
    program = read_program(content)
    x = images(3, program.input_shape)
    expected = run_onnx(content, x, optimised=False)["logits"]
    np.testing.assert_allclose(logits_in_float64(program, x), expected, atol=1e-5)
    basis = np.eye(program.input_size, dtype=np.float32).reshape(-1, *program.input_shape)
    zero = np.zeros((1, *program.input_shape), dtype=np.float32)
    true = norm((logits_in_float64(program, basis) - logits_in_float64(program, zero)).T)
    assert program.operators[0].stretch(program.shapes[0]).factor >= true * (1 - SLACK)


def test_a_normalization_whose_way_may_overflow_has_no_float32_radius():
    """γ (x - mean) first, as the reference computes it: 1e37 · 10 may overflow."""
    gamma, variance = np.float32([1e37, 1, 1]), np.float32([1e20, 1, 1])
    bounds = prove(read_program(normalised(gamma, variance)))
    assert bounds.float32 is None
    assert "overflow" in bounds.refused_float32


def test_a_normalization_is_charged_for_what_underflows_before_its_division():
    """γ (x - mean) below 2⁻¹²⁶ may be flushed, then divided by a root of 2⁻⁵⁰."""
    content = normalised(np.float32([2.0**-60] * 3), np.float32([2.0**-99] * 3), epsilon=1e-36)
    program = read_program(content)
    stretch = program.operators[0].stretch((3, 2, 2))
    nothing = stretch.lost([Growth(0.0, 0.0)], precision=FLOAT32, entries=12)
    rounded = FLOAT32.gamma(8) * stretch.offset
    assert nothing.a - rounded >= math.sqrt(12) * FLOAT32.smallest * 2.0**49


def circular_image(kernel, side, *, stride, pads):
    """A wrap Pad of both axes, then a Conv."""
    nodes = [
        node("Pad", ["x", "p"], ["w"], mode="wrap"),
        node("Conv", ["w", "K"], ["h"], strides=[stride, stride]),
        node("Flatten", ["h"], ["logits"]),
    ]
    weights = {"p": np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], dtype=np.int64), "K": kernel}
    return onnx_file(nodes, shape=(kernel.shape[1], side, side), weights=weights)


@pytest.mark.parametrize(("side", "stride"), [(4, 1), (4, 2), (5, 2), (3, 3), (2, 1)])
def test_a_circular_image_is_bounded_and_tight_where_the_stride_divides_its_side(side, stride):
    kernel = np.random.default_rng(side).standard_normal((3, 2, 3, 3)).astype(np.float32)
    content = circular_image(kernel, side, stride=stride, pads=[1, 0, 1, 2])
    program = read_program(content)
    x = images(3, program.input_shape)
    expected = run_onnx(content, x)["logits"]
    np.testing.assert_allclose(logits_in_float64(program, x), expected, atol=1e-5)
    basis = np.eye(program.input_size, dtype=np.float32).reshape(-1, *program.input_shape)
    true = norm(logits_in_float64(program, basis).T)
    found = walk(program).steps
    assert found[0].kind == "circular Conv"
    assert found[0].stretch.factor >= true * (1 - SLACK)
    if side % stride == 0:
        assert found[0].stretch.factor <= true * (1 + 1e-5)


@pytest.mark.parametrize("wraps", [1, 2])
def test_an_image_continued_by_slices_is_circular_where_no_window_repeats(wraps):
    """The older exporter writes circular padding as Concat of slices, one axis after the other."""
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)
    whole = {"near": [0], "wide": [wraps], "back": [5 - wraps], "end": [5], "h": [2], "w": [3]}
    nodes = [
        node("Slice", ["x", "back", "end", "h"], ["top"]),
        node("Slice", ["x", "near", "wide", "h"], ["bottom"]),
        node("Concat", ["top", "x", "bottom"], ["tall"], axis=2),
        node("Slice", ["tall", "back", "end", "w"], ["left"]),
        node("Slice", ["tall", "near", "wide", "w"], ["right"]),
        node("Concat", ["left", "tall", "right"], ["padded"], axis=3),
        node("Conv", ["padded", "K"], ["y"]),
        node("Flatten", ["y"], ["logits"]),
    ]
    weights = {name: np.array(value, dtype=np.int64) for name, value in whole.items()}
    program = read_program(onnx_file(nodes, shape=(2, 5, 5), weights={**weights, "K": kernel}))
    steps = walk(program).steps
    assert (steps[0].kind == "circular Conv") == (wraps == 1)
    with torch.no_grad():
        matrix = program(torch.eye(50, dtype=torch.float64).view(-1, 2, 5, 5)).T.numpy()
    exact = np.linalg.norm(matrix, ord=2)
    assert exact <= steps[-1].lipschitz_bound
    if wraps == 1:
        assert steps[-1].lipschitz_bound <= exact * (1 + 1e-9)
