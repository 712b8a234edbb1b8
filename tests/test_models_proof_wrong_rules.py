"""Wrong certificates of the field, and plausible wrong rules: each is put in, and is caught.

A row of `WRONG` is a program, what the wrong rule claims of it, and by how much the truth exceeds
that at least.  Four things are held to: the dense matrix, or a pair of inputs, stretches farther
than is claimed; our own bound is not below it; the lower bounds that `certify bound` looks for find
nothing against ours; and with the claim in the place of our bound they ring.

| in the list of | rows of `WRONG`, and tests below |
| --- | --- |
| negative controls | a bound scaled by 0.7; a torus of the image's own side |
| | tests: unit rows (twice), a changed weight, an image outside the domain |
| wrong in the field | power iteration; TF32; a border-corrected coefficient; a product over |
| | groups; the largest std; tests: unit rows, an unknown layer, a product of small bounds |
| plausible and wrong | wrap pads above a window; a kernel cropped to the torus; a stride that |
| | does not divide the torus; a torus of the image's own side; a mean whose padding is |
| | excluded, over a window cut off, as a convolution; the largest factor, where it enlarges; |
| | the largest part, where it reads twice; a mix by channels; SLL with Abs, with MaxMin, of |
| | float32 weights; test: a logarithm of shares |
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from models.errors import DataError, ModelError, SoundnessError, VerificationError
from models.proof.bounds import prove
from models.proof.certificate import certified_radii, certify_examples, input_norms
from models.proof.lipschitz import walk
from models.proof.lower_bounds import lower_bounds
from models.proof.pair_lower_bounds import pair_lower_bounds
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import dense_file, dense_norm, form, images, orthogonal

node = helper.make_node
ONES = np.ones


def dense(matrix, bias=None):
    return dense_file([matrix], [bias], shape=(matrix.shape[1],))


def nearly_orthogonal(side=64):
    return orthogonal(side, side, seed=0) * np.linspace(0.95, 1, side, dtype=np.float32)


def power_iteration(W, *, steps):
    direction = np.random.default_rng(0).standard_normal(W.shape[1])
    for _ in range(steps):
        direction = W.T @ (W @ direction)
        direction /= np.linalg.norm(direction)
    return float(np.linalg.norm(W @ direction))


def in_tf32(W):
    """Ten bits of a mantissa, the others cut off."""
    return (W.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def scaled_identity(scale):
    return np.eye(2, dtype=np.float32) * np.float32(scale)


def convolution(kernel, side, *, pads=0, **attributes):
    """A square image of as many channels as the kernel and its groups read."""
    channels = kernel.shape[1] * attributes.get("group", 1)
    conv = node("Conv", ["x", "K"], ["g"], name="conv", pads=[pads] * 4, **attributes)
    return form(conv, shape=(channels, side, side), K=kernel.astype(np.float32))


def circular(kernel, side, *, before, after, stride=1):
    pads = np.array([0, 0, before, before, 0, 0, after, after], np.int64)
    return form(
        node("Pad", ["x", "pads"], ["p"], name="wrap", mode="wrap"),
        node("Conv", ["p", "K"], ["g"], name="conv", strides=[stride, stride]),
        shape=(1, side, side),
        opset=19,
        pads=pads,
        K=kernel.astype(np.float32),
    )


def on_the_torus(kernel, side):
    """Largest frequency response; NumPy, too, crops a kernel that is larger than the torus."""
    return float(np.abs(np.fft.fft2(kernel[0, 0], s=(side, side))).max())


def average(side, *, kernel, pads=0, **attributes):
    pool = node(
        "AveragePool", ["x"], ["g"], name="pool", kernel_shape=[kernel] * 2, pads=[pads] * 4,
        **attributes,
    )  # fmt: skip
    return form(pool, shape=(1, side, side))


def border_corrected(kernel, side):
    """Norm 1 as a matrix, times √(n / (k n - ⌊k/2⌋ ⌈k/2⌉)) along each axis: claimed is 1."""
    k = kernel.shape[-1]
    as_matrix = kernel / np.linalg.norm(kernel)
    along = math.sqrt(side / (k * side - (k // 2) * math.ceil(k / 2)))
    return as_matrix * along**2 * k


def residual(phi, *, bias, A=None, B=None):
    """The layer x - B φ(A x + b)."""
    A = np.eye(2, dtype=np.float32) if A is None else A
    return form(
        node("Gemm", ["x", "A", "b"], ["a"], name="A", transB=1),
        *phi,
        node("Gemm", ["f", "B"], ["r"], name="B", transB=1),
        node("Sub", ["x", "r"], ["g"], name="residual"),
        shape=(len(A),),
        A=A,
        B=2 * A.T if B is None else B,
        b=np.array(bias, np.float32),
    )


def max_min():
    axes = np.array([1], np.int64)
    return [
        node("Constant", [], ["axes"], value=helper.make_tensor("c", 7, [1], axes)),
        node("ReduceMax", ["a", "axes"], ["most"], keepdims=1),
        node("ReduceMin", ["a", "axes"], ["least"], keepdims=1),
        node("Concat", ["most", "least"], ["f"], axis=1),
    ]


def steep_scale():
    """A float32 a whose float32 2 / a is so rounded that their product is above 2."""
    scales = np.linspace(1, 2, 1000, dtype=np.float32)
    products = scales.astype(np.float64) * (np.float32(2) / scales).astype(np.float64)
    return scales[products.argmax()]


def mixed_by_channel():
    """a x + (1 - a) P x, where P exchanges two channels and a = (1, 0): x₀ comes twice."""
    return form(
        node("Mul", ["x", "a"], ["kept"], name="a"),
        node("Gemm", ["x", "P"], ["g1"], name="P"),
        node("Mul", ["g1", "b"], ["mixed"], name="b"),
        node("Add", ["kept", "mixed"], ["g"], name="mix"),
        shape=(2,),
        a=np.array([1, 0], np.float32),
        b=np.array([0, 1], np.float32),
        P=np.array([[0, 1], [1, 0]], np.float32),
    )


def read_twice():
    """Concat of x₀ and x₀: each part alone stretches by 1."""
    ends = {"s": np.array([0], np.int64), "e": np.array([1], np.int64)}
    ends["axis"] = np.array([1], np.int64)
    return form(
        node("Slice", ["x", "s", "e", "axis"], ["first"], name="first"),
        node("Slice", ["x", "s", "e", "axis"], ["again"], name="again"),
        node("Concat", ["first", "again"], ["g"], name="join", axis=1),
        shape=(2,),
        **ends,
    )


NEARLY = nearly_orthogonal()
WAVE = np.outer([1, -1, 1], [1, -1, 1])[None, None]
BLOCK = ONES((1, 1, 2, 2))
EQUAL = border_corrected(ONES((1, 1, 3, 3)), 16)
STEEP = steep_scale()
TINY = 1 + 2.0**-12
WRONG = {
    "a bound scaled by 0.7": (dense(NEARLY), 0.7 * float(np.linalg.norm(NEARLY, 2)), 1.42),
    "power iteration": (dense(NEARLY), power_iteration(NEARLY, steps=10), 1.001),
    "TF32": (dense(scaled_identity(TINY)), float(in_tf32(scaled_identity(TINY))[0, 0]), 1.0002),
    "a border-corrected coefficient": (convolution(EQUAL, 16, pads=1), 1.0, 1.019),
    "a product over groups": (
        convolution(np.array([0.248, 0.266]).reshape(2, 1, 1, 1), 4, group=2),
        0.248 * 0.266,
        3.9,
    ),
    "the largest std": (
        form(
            node("Div", ["x", "std"], ["g"], name="std"),
            shape=(2, 3, 3),
            std=np.array([0.2, 0.5], np.float32).reshape(2, 1, 1),
        ),
        1 / 0.5,
        2.49,
    ),
    "a torus of the image's own side": (
        convolution(WAVE, 3, pads=1),
        on_the_torus(WAVE, 3),
        1.45,
    ),
    "wrap pads above a window": (
        circular(BLOCK, 3, before=3, after=3),
        on_the_torus(BLOCK, 3),
        2.5,
    ),
    "a kernel cropped to the torus": (
        circular(ONES((1, 1, 5, 5)), 2, before=2, after=2),
        on_the_torus(ONES((1, 1, 5, 5)), 2),
        5.9,
    ),
    "a stride that does not divide the torus": (  # windows of 2 by 2 are disjoint on side 6
        circular(BLOCK, 5, before=0, after=1, stride=2),
        2.0,
        1.49,
    ),
    "a mean whose padding is excluded": (average(2, kernel=3, pads=1), 1 / math.sqrt(9), 2.99),
    "a mean over a window cut off": (
        average(4, kernel=3, strides=[3, 3], ceil_mode=1),
        1 / math.sqrt(9),
        2.99,
    ),
    "a mean as a convolution": (
        average(2, kernel=5, pads=4),
        on_the_torus(ONES((1, 1, 5, 5)) / 25, 6),
        2.8,
    ),
    "the largest factor, where it enlarges": (
        form(
            node("Mul", ["x", "c"], ["g"], name="c"),
            shape=(1,),
            c=np.array([[1, -1, 1, 1]], np.float32),
        ),
        1.0,
        1.99,
    ),
    "the largest part, where it reads twice": (read_twice(), 1.0, 1.41),
    "a mix by channels": (mixed_by_channel(), 1.0, 1.41),
    "SLL with Abs": (residual([node("Abs", ["a"], ["f"])], bias=[-1.5, -1.5]), 1.0, 2.99),
    "SLL with MaxMin": (residual(max_min(), bias=[-2.0, 0.0]), 1.0, 2.99),
    "SLL of float32 weights": (
        residual(
            [node("Relu", ["a"], ["f"])],
            bias=[1.0, 1.0],
            A=scaled_identity(STEEP),
            B=scaled_identity(np.float32(2) / STEEP),
        ),
        1.0,
        1 + 4e-8,
    ),
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_caught_and_ours_is_not(rule):
    content, claim, factor = WRONG[rule]
    found = walk(read_program(content))
    ours = found.steps[-1].lipschitz_bound
    truth = dense_norm(found.program)  # every case is affine where the images are
    assert truth >= factor * claim
    assert ours >= truth * (1 - 1e-14)
    assert claim < lower_bounds(found).program <= ours
    wrong = replace(found.steps[-1], lipschitz_bound=claim)
    with pytest.raises(SoundnessError, match="the program is seen to stretch by"):
        lower_bounds(replace(found, steps=(*found.steps[:-1], wrong)))


def test_a_head_of_unit_rows_divided_by_the_root_of_2_is_caught():
    """Nearly opposite rows: the gap moves by 2, and not by √2."""
    rows = np.array([[1, 0.01], [-1, 0.01], [0, 1]], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    program = read_program(dense(rows))
    bounds = prove(program)
    assert pair_lower_bounds(program, bounds)[0, 1] > 1.41 * math.sqrt(2)
    root = math.sqrt(2) * (1 - np.eye(3))
    with pytest.raises(SoundnessError, match="gap of classes 0 and 1"):
        pair_lower_bounds(program, replace(bounds, pair_bounds=root))


def test_the_radius_of_a_head_of_unit_rows_is_crossed_where_it_is_too_large():
    """The same control, felt: a step shorter than margin / √2 reaches the other class."""
    rows = np.array([[1, 0], [-1, 0]], np.float32)
    program = read_program(dense(rows))
    bounds, x = prove(program), np.array([[0.5, 0.5]], np.float32)
    logits = logits_in_float64(program, x)
    ours = certified_radii(logits, input_norms(x), bounds=bounds).radii[0]
    naive = (logits[0, 0] - logits[0, 1]) / math.sqrt(2)
    step = np.array([[-1, 0]], np.float64)
    assert 0.4999 < ours < 0.5
    assert naive > 0.55
    kept, broken = ((x + length * step) @ rows.T for length in (ours, 0.55))
    assert kept.argmax() == 0
    assert broken.argmax() == 1


def test_an_unknown_layer_counts_as_nothing_and_is_refused():
    """Exp stretches by e at 1: counted as 1 it would certify e times too much."""
    content = form(node("Exp", ["x"], ["g"], name="steep"), shape=(1,))
    ends = np.array([[0.95], [1.05]], np.float32)
    first, second = run_onnx(content, ends)["logits"]
    assert abs(second - first) / 0.1 > 2.7
    with pytest.raises(ModelError, match="steep"):
        read_program(content)


def test_a_product_of_small_bounds_does_not_fall_to_zero():
    """Down by 10³⁶⁰ and up again: the whole is the identity, whatever a product says of it."""
    small, large = [np.float32(2.0**-100)] * 12, [np.float32(2.0**100)] * 12
    factors = small + large
    nodes = [
        node("Mul", [f"h{place}" if place else "x", f"c{place}"], [f"h{place + 1}"])
        for place in range(len(factors))
    ]
    nodes[-1].output[0] = "g"
    weights = {f"c{place}": np.array([c]) for place, c in enumerate(factors)}
    found = walk(read_program(form(*nodes, shape=(2,), **weights)))
    assert math.prod(float(c) for c in factors) == 0
    assert found.steps[-1].lipschitz_bound >= 1


def test_a_logarithm_of_shares_before_the_end_is_refused():
    """Of ten classes, nine fall by what the first one rises: by √9 as far, and not by 1."""
    log = node("LogSoftmax", ["x"], ["g"], name="log", axis=1)
    sure = np.zeros((2, 10), np.float32)
    sure[:, 0] = 30, 30.5
    first, second = run_onnx(form(log, shape=(10,)), sure)["logits"]
    assert np.linalg.norm(second - first) / 0.5 > 2.99
    head = node("Gemm", ["h", "W"], ["g"], name="head")
    log.output[0] = "h"
    with pytest.raises(ModelError, match="log"):
        read_program(form(log, head, shape=(10,), W=np.eye(10, dtype=np.float32)))


def test_a_weight_that_is_changed_after_the_bound_is_noticed():
    W = orthogonal(3, 8, seed=0)
    bounds = prove(read_program(dense(W)))
    W[2, 5] = np.nextafter(W[2, 5], np.float32(9))
    with pytest.raises(VerificationError, match="the bounds speak of program"):
        certify_examples(read_program(dense(W)), bounds, images(1, (8,)))


@pytest.mark.parametrize("pixel", [-1e-6, 1.0000001, np.nan, np.inf])
def test_an_image_from_outside_the_domain_is_refused(pixel):
    program = read_program(dense(orthogonal(3, 8, seed=0)))
    spoilt = images(2, (8,))
    spoilt[1, 7] = pixel
    with pytest.raises(DataError, match="image 1 has a pixel outside"):
        certify_examples(program, prove(program), spoilt)
