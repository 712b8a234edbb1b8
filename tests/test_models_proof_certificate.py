"""No step inside a radius changes a class, and what cannot be certified has radius 0."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import DataError, VerificationError
from models.proof.bounds import Bounds, GapError, prove
from models.proof.certificate import certified_radii, certify_examples, input_norms
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealed_graph import seal_graph
from models.proof.sealing import run_onnx
from tests.oracles import dense_file, images, onnx_file, orthogonal_classifier

SHAPE = (1, 4, 4)
CONTENT = orthogonal_classifier(shape=SHAPE)
PROGRAM = read_program(CONTENT)
BOUNDS = prove(PROGRAM)


def steps_at(program, inputs, predictions, radii, *, share, seed, ascents=20):
    """Inputs at a share of their radius, pushed against the prediction's margin."""
    x = torch.from_numpy(inputs.astype(np.float64))
    own = torch.from_numpy(predictions)[:, None]
    length = torch.from_numpy(share * radii).view(-1, *[1] * (x.dim() - 1))
    noise = torch.Generator().manual_seed(seed)
    step = torch.randn(x.shape, generator=noise, dtype=torch.float64)
    for _ in range(ascents):
        step = (step / step.flatten(1).norm(dim=1).view(length.shape) * length).requires_grad_()
        logits = program(x + step)
        others = logits.scatter(1, own, -math.inf).amax(dim=1)
        (gradient,) = torch.autograd.grad((others - logits.gather(1, own)[:, 0]).sum(), step)
        size = gradient.flatten(1).norm(dim=1).view(length.shape).clamp_min(1e-300)
        step = (step + 0.5 * length * gradient / size).detach()
    step = step / step.flatten(1).norm(dim=1).view(length.shape) * length
    return (x + step).numpy()


def changed(program, inputs, predictions):
    with torch.inference_mode():
        return program(torch.from_numpy(inputs)).argmax(dim=1).numpy() != predictions


@given(
    width=st.integers(2, 40),
    classes=st.integers(2, 12),
    seed=st.integers(0, 2**31),
)
def test_no_step_inside_the_radius_changes_the_class(width, classes, seed):
    program = read_program(
        orthogonal_classifier(shape=SHAPE, width=width, classes=classes, seed=seed)
    )
    inputs = images(16, SHAPE, seed=seed)
    found = certify_examples(program, prove(program), inputs)
    moved = steps_at(program, inputs, found.predictions, found.radii, share=0.9999, seed=seed)
    assert not changed(program, moved, found.predictions)[found.radii > 0].any()


def test_the_radius_of_a_linear_classifier_is_exact():
    """A linear classifier's nearest boundary is known: just inside it holds, just outside not."""
    head = np.random.default_rng(0).standard_normal((5, 16))
    program = read_program(dense_file([head], [None], shape=SHAPE))
    inputs = images(50, SHAPE)
    found = certify_examples(program, prove(program), inputs)
    rows = head.astype(np.float32).astype(np.float64)
    towards = rows[found.rivals] - rows[found.predictions]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    at = lambda share: (  # noqa: E731
        inputs + (share * found.radii[:, None] * towards).reshape(inputs.shape)
    )
    assert not changed(program, at(1 - 1e-9), found.predictions).any()
    assert changed(program, at(1 + 1e-6), found.predictions).all()


def test_alarm_a_bound_that_is_too_small_is_broken_by_a_step_inside_the_radius():
    head = np.random.default_rng(0).standard_normal((5, 16))
    program = read_program(dense_file([head], [None], shape=SHAPE))
    honest = prove(program)
    false = dataclasses.replace(honest, pair_bounds=0.7 * honest.pair_bounds)
    inputs = images(50, SHAPE)
    found = certify_examples(program, false, inputs)
    moved = steps_at(program, inputs, found.predictions, found.radii, share=0.99, seed=0)
    assert changed(program, moved, found.predictions).any()


def test_the_float32_radius_is_smaller_and_holds_in_a_float32_runtime():
    inputs = images(64, SHAPE)
    found = certify_examples(PROGRAM, BOUNDS, inputs)
    assert (found.radii_float32 < found.radii)[found.radii > 0].all()
    moved = steps_at(
        PROGRAM, inputs, found.predictions, found.radii_float32, share=0.999, seed=1
    ).astype(np.float32)
    labels = run_onnx(CONTENT, moved, optimised=False)["logits"].argmax(axis=1)
    inside = input_norms(moved.astype(np.float64) - inputs) < found.radii_float32
    assert inside.sum() > 30
    assert (labels == found.predictions)[inside].all()


def test_a_certificate_that_is_true_in_exact_arithmetic_and_false_in_a_float32_runtime():
    """Adding 2²⁴ and taking it away loses the pixel: float32 gives another class at the image."""
    far = np.full((1, 1), 2.0**24, dtype=np.float32)
    head, bias = np.float32([[1], [0]]), np.float32([0, 0.4])
    content = onnx_file(
        [
            helper.make_node("Add", ["x", "far"], ["there"]),
            helper.make_node("Sub", ["there", "far"], ["back"]),
            helper.make_node("Gemm", ["back", "W", "b"], ["logits"], transB=1),
        ],
        shape=(1,),
        weights={"far": far, "W": head, "b": bias},
    )
    program, x = read_program(content), np.float32([[0.6]])
    bounds = prove(program)
    found = certify_examples(program, bounds, x)
    assert found.radii[0] == pytest.approx(0.2, abs=1e-6)  # and true: the logits are x and 0.4
    in_float32 = run_onnx(content, x, optimised=False)["logits"].argmax()
    assert in_float32 != found.predictions[0]
    assert found.radii_float32[0] == 0
    sealed = run_onnx(seal_graph(content, bounds, slack=0.0, metadata={}), x, optimised=False)
    assert sealed["radius_float32"][0] == 0


def test_a_near_tie_is_certified_in_exact_arithmetic_and_not_in_float32():
    """A gap below float32's rounding: a naive float32 certificate would be a guess."""
    head = np.ones((2, 16), dtype=np.float32)
    head[0, 0] += 2.0**-20
    program = read_program(dense_file([head], [None], shape=SHAPE))
    found = certify_examples(program, prove(program), np.full((1, *SHAPE), 0.5, np.float32))
    assert found.predictions.tolist() == [0]
    assert found.radii[0] > 0
    assert found.radii_float32[0] == 0


def fixed(pair_bounds, *, size=4, error=0.0):
    """Bounds of a two- or three-class program with given pairs and no rounding but `error`."""
    pairs = np.array(pair_bounds, dtype=np.float64)
    own = GapError(np.full_like(pairs, error), np.zeros_like(pairs))
    none = GapError(np.zeros_like(pairs), np.zeros_like(pairs))
    return Bounds(1.0, 1.0, pairs, own, none, None, (), size, "")


def radii(logits, pair_bounds, **options):
    found = certified_radii(
        np.array([logits], dtype=np.float64), np.ones(1), bounds=fixed(pair_bounds, **options)
    )
    return found.radii[0], found.radii_float32[0]


TWO = [[0, 1], [1, 0]]
THREE = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
CASES = {
    "a NaN": ([np.nan, 1.0], TWO, 0),
    "an infinity": ([np.inf, 1.0], TWO, 0),
    "minus infinity": ([1.0, -np.inf], TWO, 0),
    "a tie": ([1.0, 1.0], TWO, 0),
    "a tie of equal rows": ([1.0, 0.0, 1.0], THREE, 0),
    "an infinite bound": ([1.0, 0.0], [[0, np.inf], [np.inf, 0]], 0),
    "a gap below the error": ([1.0, 0.9], TWO, 0),
    "equal rows that are no rival": ([1.0, 0.0, 0.2], THREE, 0.5),
    "equal rows alone: the diameter": ([1.0, 0.0], [[0, 0], [0, 0]], 2),
    "at most the diameter": ([100.0, 0.0], TWO, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cases_of_a_radius(case):
    logits, pairs, expected = CASES[case]
    for found in radii(logits, pairs, error=0.5 if expected in (0, 0.5) else 0.0):
        assert found <= expected
        assert found == pytest.approx(expected, rel=1e-9)


def test_only_numbers_that_were_proved_of_this_program_certify_it():
    other = read_program(orthogonal_classifier(shape=SHAPE, seed=9))
    with pytest.raises(VerificationError, match="bounds speak of program"):
        certify_examples(other, BOUNDS, images(1, SHAPE))


def test_batches_change_no_radius_beyond_the_rounding_that_is_charged():
    inputs = images(40, SHAPE)
    together = certify_examples(PROGRAM, BOUNDS, inputs)
    apart = np.concatenate(
        [certify_examples(PROGRAM, BOUNDS, inputs[at : at + 1]).radii for at in range(40)]
    )
    np.testing.assert_allclose(apart, together.radii, rtol=1e-12)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x.astype(np.float64), "type float64"),
        (lambda x: x[:, :, :3], r"shape \[1, 3, 4\]"),
        (lambda x: np.where(np.arange(5)[:, None, None, None] == 3, np.nan, x), "image 3"),
        (lambda x: x + np.float32(1), "image 0 has a pixel outside"),
        (lambda x: x - np.float32(1), "image 0 has a pixel outside"),
    ],
)
def test_images_that_the_certificate_does_not_speak_of_are_refused(spoil, message):
    with pytest.raises(DataError, match=message):
        certify_examples(PROGRAM, BOUNDS, spoil(images(5, SHAPE)))


def test_logits_are_evaluated_in_float64():
    assert logits_in_float64(PROGRAM, images(1, SHAPE)).dtype == np.float64
