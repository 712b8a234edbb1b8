"""Operators that pick entries: what ONNX Runtime picks, and exactly the norm of what they do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.operators.operator import Stretch
from models.proof.operators.selection import Selection
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import check_form, dense_norm, form, images

node = helper.make_node


def ints(*values):
    return np.array(values, dtype=np.int64)


def numbers(*values):
    return np.array(values, dtype=np.float32)


def slice_of(shape, starts, ends, axes=None, steps=None, **more):
    weights = {"s": ints(*starts), "e": ints(*ends)}
    names = ["x", "s", "e"]
    if axes is not None:
        weights["a"] = ints(*axes)
        names.append("a")
    if steps is not None:
        weights["d"] = ints(*steps)
        names.append("d")
    return form(node("Slice", names, ["g"]), shape=shape, **weights, **more)


def pad_of(shape, pads, mode="constant", value=None, axes=None, **more):
    weights = {"p": ints(*pads)}
    names = ["x", "p", "", ""]
    if value is not None:
        weights["v"] = np.array(value, dtype=np.float32)
        names[2] = "v"
    if axes is not None:
        weights["a"] = ints(*axes)
        names[3] = "a"
    while not names[-1]:
        names.pop()
    return form(node("Pad", names, ["g"], mode=mode), shape=shape, **weights, **more)


def gather_of(shape, indices, axis, **more):
    return form(node("Gather", ["x", "i"], ["g"], axis=axis), shape=shape, i=indices, **more)


IMAGE = (2, 4, 6)
FORMS = {
    "slice, crop": (slice_of(IMAGE, [1], [3], [2]), 1),
    "slice, every second": (slice_of(IMAGE, [0, 1], [4, 6], [-2, -1], [2, 2]), 1),
    "slice, backwards": (slice_of(IMAGE, [-1], [-100], [3], [-2]), 1),
    "slice, ends beyond": (slice_of(IMAGE, [-2, -100], [100, 2**63 - 1], [3, 1]), 1),
    "slice, whole batch": (slice_of((5,), [0, 1], [2**63 - 1, 4]), 1),
    "gather, one place": (gather_of(IMAGE, np.array(2), 2), 1),
    "gather, one place from behind": (gather_of(IMAGE, np.array(-1), -1), 1),
    "gather, repeated": (gather_of(IMAGE, ints(0, 3, 3, -1), 2), 3**0.5),
    "gather, a table": (gather_of(IMAGE, np.array([[0, 5], [5, 1]], np.int32), 3), 2**0.5),
    "expand": (form(node("Expand", ["x", "s"], ["g"]), shape=(2, 1, 3), s=ints(1, 1, 4, 3)), 2),
    "expand, fewer axes": (form(node("Expand", ["x", "s"], ["g"]), shape=(2, 1), s=ints(9)), 3),
    "expand, nothing": (form(node("Expand", ["x", "s"], ["g"]), shape=(2, 3), s=ints(2, 1)), 1),
    "tile": (form(node("Tile", ["x", "s"], ["g"]), shape=IMAGE, s=ints(1, 1, 2, 3)), 6**0.5),
    "pad": (pad_of(IMAGE, [0, 0, 1, 2, 0, 1, 0, 3]), 1),
    "pad with a value": (pad_of(IMAGE, [0, 0, 1, 2, 0, 0, 0, 3], value=0.75), 1),
    "pad and crop": (pad_of(IMAGE, [0, 0, -1, 2, 0, 0, 1, -3], value=0.75), 1),
    "pad, axes": (pad_of(IMAGE, [1, 2, 0, 3], value=[0.5], axes=[-1, 2]), 1),
    "pad, reflect": (pad_of(IMAGE, [0, 0, 1, 2, 0, 0, 1, 2], mode="reflect"), 2),
    "pad, reflect, far": (pad_of((1, 3), [0, 0, 2, 0, 0, 2], mode="reflect"), 3**0.5),
    "pad, edge": (pad_of(IMAGE, [0, 0, 1, 2, 0, 0, 0, 7], mode="edge"), 16**0.5),
    "pad, wrap": (pad_of(IMAGE, [0, 0, 1, 0, 0, 0, 1, 0], mode="wrap", opset=19), 2**0.5),
    "pad, wrap, far": (pad_of((1, 3), [0, 0, 3, 0, 0, 3], mode="wrap", opset=19), 3**0.5),
    "depth to space": (
        form(node("DepthToSpace", ["x"], ["g"], blocksize=2), shape=(8, 2, 3)), 1,
    ),
    "depth to space, columns first": (
        form(node("DepthToSpace", ["x"], ["g"], blocksize=2, mode="CRD"), shape=(8, 2, 3)), 1,
    ),
    "space to depth": (form(node("SpaceToDepth", ["x"], ["g"], blocksize=2), shape=IMAGE), 1),
    "split, whole": (form(node("Split", ["x"], ["a", "g"], axis=2, num_outputs=2), shape=IMAGE), 1),
    "constant that enlarges a product": (
        form(node("Mul", ["x", "c"], ["g"]), shape=(1,), c=numbers(1, 1, 1, 1)[None]), 2,
    ),
    "constant that enlarges a sum": (
        form(node("Add", ["c", "x"], ["g"]), shape=(3, 1), c=np.ones((3, 4), "f4")), 2,
    ),
    "constant that enlarges a quotient": (
        form(node("Div", ["x", "c"], ["g"]), shape=(1,), c=numbers(2, 2, 2, 2)), 1,
    ),
    "branch that enlarges another": (
        form(node("ReduceSum", ["x", "a"], ["s"]), node("Add", ["s", "s"], ["d"]),
             node("Neg", ["x"], ["n"]), node("Sub", ["n", "d"], ["g"]), shape=(4,), a=ints(1)),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_selection_picks_what_onnx_runtime_picks(name):
    check_form(FORMS[name][0])


@pytest.mark.parametrize("name", FORMS)
def test_the_factor_is_the_norm_of_the_dense_matrix(name):
    content, exact = FORMS[name]
    program = read_program(content)
    bound, norm = walk(program).steps[-1].lipschitz_bound, dense_norm(program)
    assert norm <= bound * (1 + 1e-12)
    if exact is not None:
        assert bound == pytest.approx(exact, rel=1e-12)
        assert norm == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_opset_is_read_alike(opset):
    check_form(pad_of(IMAGE, [0, 0, 1, 2, 0, 1, 0, 3], value=0.5, opset=opset))
    check_form(slice_of(IMAGE, [-1, 0], [-9, 3], [3, 2], [-2, 1], opset=opset))
    check_form(gather_of(IMAGE, ints(3, 0, 0), 2, opset=opset))
    check_form(form(node("Tile", ["x", "s"], ["g"]), shape=(2,), s=ints(1, 3), opset=opset))
    check_form(form(node("DepthToSpace", ["x"], ["g"], blocksize=2), shape=(4, 1, 3), opset=opset))
    if opset >= 18:
        check_form(pad_of(IMAGE, [1, 1], mode="edge", axes=[2], opset=opset))


@given(st.integers(0, 2**32 - 1))
def test_random_slices_and_pads_are_what_onnx_runtime_makes_of_them(seed):
    rng = np.random.default_rng(seed)
    side = int(rng.integers(1, 7))
    start, end = (int(at) for at in rng.integers(-9, 10, 2))
    step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
    mode = str(rng.choice(["constant", "reflect", "edge", "wrap"]))
    pads = [0, 0, int(rng.integers(-1, 9)), 0, 0, int(rng.integers(-1, 9))]
    for content in (
        slice_of((2, side), [start], [end], [2], [step]),
        pad_of((2, side), pads, mode=mode, value=0.25),
    ):
        try:
            read_program(content)
        except ModelError:
            continue
        check_form(content)


REFUSED = {
    "slice of the batch": (slice_of((4,), [1], [3], [0]), "which is the batch"),
    "slice of the batch from behind": (slice_of((4,), [1], [3], [-2]), "which is the batch"),
    "slice of an axis twice": (slice_of((4,), [1, 1], [3, 3], [1, -1]), "axis 1 twice"),
    "empty slice": (slice_of((4,), [3], [1], [1]), "without entries"),
    "step 0": (slice_of((4,), [0], [3], [1], [0]), "not 0"),
    "gather of the batch": (gather_of((4,), ints(0, 1), 0), "which is the batch"),
    "gather beyond": (gather_of((4,), ints(0, 4), 1), "places below 4"),
    "expanded batch": (
        form(node("Expand", ["x", "s"], ["g"]), shape=(1,), s=ints(3, 4)), "1 for the batch",
    ),
    "batch moved by an expansion": (
        form(node("Expand", ["x", "s"], ["g"]), shape=(1,), s=ints(1, 3, 4)), "1 for the batch",
    ),
    "too large": (
        form(node("Expand", ["x", "s"], ["g"]), shape=(1,), s=ints(1, 2**40)), "at most",
    ),
    "too large a tile": (
        form(node("Tile", ["x", "s"], ["g"]), shape=(2,), s=ints(1, 2**40)), "at most",
    ),
    "too large a pad": (pad_of((2,), [0, 2**40, 0, 0]), "at most"),
    "tiled batch": (form(node("Tile", ["x", "s"], ["g"]), shape=(2,), s=ints(2, 1)), "1 for the"),
    "padded batch": (pad_of((2,), [1, 0, 0, 0]), "which is the batch"),
    "reflection beyond": (pad_of((1, 3), [0, 0, 3, 0, 0, 0], mode="reflect"), "0 to 2"),
    "wrap beyond": (pad_of((1, 3), [0, 0, 4, 0, 0, 0], mode="wrap"), "0 to 3"),
    "pad value NaN": (pad_of((2,), [0, 1, 0, 0], value=np.nan), "finite"),
    "pad value of the input": (
        form(node("ReduceSum", ["x", "a"], ["v"]), node("Pad", ["x", "p", "v"], ["g"]),
             shape=(2,), a=ints(1), p=ints(0, 1, 0, 0)),
        "pad value that depends on the input",
    ),
    "indices that depend on the input": (
        form(node("TopK", ["x", "k"], ["v", "i"]), node("Gather", ["v", "i"], ["g"], axis=1),
             shape=(4,), k=ints(2)),
        "indices that depend",
    ),
    "blocks that do not fit": (
        form(node("SpaceToDepth", ["x"], ["g"], blocksize=2), shape=(1, 3, 4)), "whole ones",
    ),
    "broadcast of unlike shapes": (
        form(node("Add", ["x", "c"], ["g"]), shape=(3,), c=np.ones(2, "f4")), "one that broadcasts",
    ),
    "a part as long as the batch": (
        form(node("Shape", ["x"], ["s"], end=1), node("Slice", ["x", "z", "s", "one"], ["g"]),
             shape=(4,), z=ints(0), one=ints(1)),
        "as long as the batch",
    ),
    "shapes cut at the length of the batch": (
        form(node("Shape", ["x"], ["s"], end=1), node("Slice", ["t", "z", "s"], ["c"]),
             node("Tile", ["x", "c"], ["g"]), shape=(4,), z=ints(0), t=ints(1, 2)),
        "as long as the batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_selection_that_is_not_fixed_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_program(content)


def test_a_pad_value_is_in_the_norm_of_what_is_padded():
    bounds = walk(read_program(pad_of((1, 2), [0, 0, 3, 0, 0, 1], value=-2.0)))
    assert bounds.steps[0].stretch.offset == pytest.approx(4, rel=1e-12)


def test_largest_factor_alone_is_wrong_where_a_constant_enlarges(monkeypatch):
    content = FORMS["constant that enlarges a product"][0]
    program = read_program(content)
    assert dense_norm(program) <= walk(program).steps[-1].lipschitz_bound
    monkeypatch.setattr(Selection, "stretch", lambda *_: Stretch(method="wrong"))
    assert dense_norm(program) == pytest.approx(2 * walk(program).steps[-1].lipschitz_bound)


def test_using_an_entry_once_is_wrong_for_a_reflected_border(monkeypatch):
    program = read_program(FORMS["pad, reflect"][0])
    monkeypatch.setattr(Selection, "stretch", lambda *_: Stretch(method="wrong"))
    assert dense_norm(program) > 1.9 * walk(program).steps[-1].lipschitz_bound


def test_a_float32_run_of_a_selection_is_exact():
    content = FORMS["pad and crop"][0]
    x = images(1, IMAGE)
    bounds = prove(read_program(content))
    computed = run_onnx(content, x, optimised=False)["logits"]
    assert (computed == logits_in_float64(read_program(content), x)).all()
    assert bounds.refused_float32 is None
