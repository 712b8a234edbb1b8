"""Nearest Resize: the entries that ONNX Runtime copies, or a refusal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.lipschitz import walk
from models.proof.reading.reader import read_program
from tests.oracles import check_form, dense_norm, form
from tests.strategies import draws

node = helper.make_node
TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric", "align_corners",
)  # fmt: skip
UPSAMPLING = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resized(shape, *, scales=None, sizes=None, opset=20, **attributes):
    weights = {}
    names = ["x", "", "", ""]
    if scales is not None:
        weights["scales"] = np.array(scales, dtype=np.float32)
        names[2] = "scales"
    if sizes is not None:
        weights["sizes"] = np.array(sizes, dtype=np.int64)
        names[3] = "sizes"
    while not names[-1]:
        names.pop()
    return form(node("Resize", names, ["g"], **attributes), shape=shape, opset=opset, **weights)


@given(st.data())
@draws(test=200, fuzz=3000)
def test_what_is_accepted_copies_the_entries_that_onnx_runtime_copies(data):
    draw = data.draw
    opset = draw(st.integers(13, 23))
    known = [name for name in TRANSFORMATIONS if opset >= 19 or "symmetric" not in name]
    scale = draw(
        st.sampled_from([2, 3, 4, 5, 7, 0.5, 0.25, 1.5, 0.75, 1 / 3, 0.3, 1.7, 2.5, 0.99, 1.01])
    )
    attributes = {
        "coordinate_transformation_mode": draw(st.sampled_from(known)),
        "nearest_mode": draw(st.sampled_from(ROUNDINGS)),
    }
    side = draw(st.integers(1, 12))
    content = resized((2, side), scales=[1, 1, scale], opset=opset, **attributes)
    try:
        program = read_program(content)
    except ModelError:
        return
    check_form(content)
    assert dense_norm(program) == pytest.approx(walk(program).steps[0].stretch.factor, rel=1e-9)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS[:-1])
@pytest.mark.parametrize("scale", [2, 4, 0.5])
def test_powers_of_two_are_accepted_whatever_the_modes(scale, transformation, rounding):
    content = resized(
        (1, 4, 8),
        scales=[1, 1, scale, scale],
        coordinate_transformation_mode=transformation,
        nearest_mode=rounding,
    )
    check_form(content)


def test_the_nearest_upsampling_of_torch_is_accepted():
    for factor in (2, 3, 5, 6, 7):
        content = resized((3, 4, 5), scales=[1, 1, factor, factor], **UPSAMPLING)
        check_form(content)
        factor_found = walk(read_program(content)).steps[0].stretch.factor
        assert factor_found == pytest.approx(factor, rel=1e-12)


def test_axes_leave_the_batch_out():
    for opset in (18, 23):
        check_form(resized((3, 4, 5), scales=[2, 3], axes=[2, -1], opset=opset, **UPSAMPLING))
        check_form(resized((3, 4), sizes=[8], axes=[2], opset=opset))


def test_sizes_with_the_length_of_the_batch_are_accepted():
    nodes = [
        node("Shape", ["x"], ["b"], end=1),
        node("Concat", ["b", "rest"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["g"]),
    ]
    check_form(form(*nodes, shape=(2, 3, 4), rest=np.array([2, 6, 8])))


REFUSED = {
    "linear": (resized((1, 4), scales=[1, 1, 2], mode="linear"), "mode"),
    "cubic": (resized((1, 4, 4), scales=[1, 1, 2, 2], mode="cubic"), "mode"),
    "crops": (
        resized((1, 4), scales=[1, 1, 2], coordinate_transformation_mode="tf_crop_and_resize"),
        "coordinate_transformation_mode",
    ),
    "antialias": (resized((1, 4), scales=[1, 1, 2], antialias=1), "antialias"),
    "a fixed batch": (resized((1, 4), sizes=[1, 1, 8]), "which is the batch"),
    "a longer batch": (resized((1, 4), scales=[2, 1, 1]), "which is the batch"),
    "the aspect ratio kept": (
        resized((1, 4, 4), sizes=[8, 8], axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
        "keep_aspect_ratio_policy",
    ),
    "a place between two": (
        resized((1, 9), scales=[1, 1, 3], nearest_mode="floor"), "float32 rounding decides",
    ),
    "a length that is cut": (resized((1, 10), scales=[1, 1, 0.7]), "a whole length"),
    "a scale of 0": (resized((1, 4), scales=[1, 1, 0]), "positive"),
    "enormous": (resized((1, 4), scales=[1, 1, 2.0**40]), "2048 at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_another_resize_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_program(content)
