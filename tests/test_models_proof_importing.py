"""A foreign file made a network: the same function, and every way to lose it rings."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError, VerificationError
from models.proof import importing, layout
from models.proof.bounds import prove
from models.proof.imported_graph import imported_graph
from models.proof.importing import Preprocessing, check_import, import_model
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealed_graph import seal_graph
from models.proof.sealing import run_onnx
from tests.oracles import images, onnx_file, orthogonal_classifier
from tests.strategies import draws, programs

node = helper.make_node
RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 12)).astype(np.float32)
SHAPE = (3, 2, 2)
MEAN, STD = (0.485, 0.456, 0.406), (0.2, 0.5, 0.25)
RGB = Preprocessing(MEAN, STD)


def linear(*ending, output="z", names=("h", "z"), kept_axis=True):
    nodes = [
        node("Flatten", ["x"], [names[0]]),
        node("Gemm", [names[0], "W"], [names[1]], transB=1),
        *ending,
    ]
    places = output == "winner"  # of ArgMax
    kind = onnx.TensorProto.INT64 if places else onnx.TensorProto.FLOAT
    content = onnx_file(
        nodes, shape=SHAPE, weights={"W": W}, outputs=(output,), output_type=kind
    )  # fmt: skip
    model = onnx.load_from_string(content)
    if not kept_axis:
        model.graph.output[0].type.tensor_type.shape.dim.pop()
    return model.SerializeToString()


ENDINGS = {
    "logits": linear(),
    "softmax": linear(node("Softmax", ["z"], ["p"], axis=1), output="p"),
    "log softmax": linear(node("LogSoftmax", ["z"], ["p"], axis=1), output="p"),
    "argmax": linear(
        node("ArgMax", ["z"], ["winner"], axis=1, keepdims=0), output="winner", kept_axis=False
    ),
    "argmax, kept axis": linear(node("ArgMax", ["z"], ["winner"], axis=1), output="winner"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_network_gives_the_answers_of_the_file_behind_its_preprocessing(name):
    imported = import_model(ENDINGS[name], RGB)
    difference = check_import(imported, images(50, SHAPE))
    assert (difference is None) == (name != "logits")
    program = read_program(imported.network)
    assert program.ending == ()
    assert program.operators[-1].result == "logits"
    inputs = images(50, SHAPE, seed=1)
    exact = (inputs.astype(float) - channels(MEAN)) / channels(STD)
    np.testing.assert_allclose(
        logits_in_float64(program, inputs), exact.reshape(50, 12) @ W.T.astype(float), atol=1e-9
    )


def channels(values):
    return np.array(values, dtype=np.float32).astype(float).reshape(3, 1, 1)


def test_without_preprocessing_it_is_the_very_same_program_and_bytes():
    model = orthogonal_classifier()
    imported = import_model(model, Preprocessing())
    assert read_program(imported.network).sha256 == read_program(model).sha256
    assert check_import(imported, images(20, (1, 4, 4))) == 0
    assert import_model(model, Preprocessing()).network == imported.network
    again = import_model(imported.network, Preprocessing())
    assert again.network == imported.network


def exact_bound(std):
    """The norm of the linear map of pixels, from an SVD of the dense matrix."""
    per_pixel = np.repeat(1 / np.array(std, dtype=np.float32).astype(float), 4)
    return np.linalg.norm(W.astype(float) * per_pixel, 2)


def test_the_factor_of_the_preprocessing_is_inside_the_bound():
    """At least the truth, and never more than 1/min(std) times the norm of the rest."""
    bounds = prove(read_program(import_model(ENDINGS["logits"], RGB).network))
    least = float(np.float32(min(STD)))
    assert exact_bound(STD) <= bounds.lipschitz_bound
    assert bounds.lipschitz_bound == pytest.approx(np.linalg.norm(W.astype(float), 2) / least)
    assert bounds.lipschitz_bound >= np.linalg.norm(W.astype(float), 2) / least


def test_alarm_the_rule_of_the_largest_std_is_below_the_truth():
    """1/max(std), as several papers' code has it: the dense matrix of this file refutes it."""
    wrong = np.linalg.norm(W.astype(float), 2) / max(STD)
    assert wrong < exact_bound(STD)


@pytest.mark.parametrize(
    "wrong",
    [
        Preprocessing(MEAN, tuple(1 / s for s in STD)),
        Preprocessing(STD, MEAN),
        Preprocessing(MEAN, (max(STD),)),
        Preprocessing(tuple(m / s for m, s in zip(MEAN, STD, strict=True)), STD),
        Preprocessing(None, STD),
        Preprocessing(MEAN, None),
        Preprocessing(),
    ],
)
@pytest.mark.parametrize("name", ["logits", "softmax", "argmax"])
def test_alarm_preprocessing_that_was_folded_in_wrongly_is_caught(name, wrong, monkeypatch):
    def folded(model, *, mean, std, **rest):
        return imported_graph(model, mean=wrong.mean, std=wrong.std, **rest)

    monkeypatch.setattr(importing, "imported_graph", folded)
    with pytest.raises(VerificationError):
        check_import(import_model(ENDINGS[name], RGB), images(200, SHAPE))


def test_alarm_a_weight_that_is_changed_on_the_way_is_caught(monkeypatch):
    def changed(model, **rest):
        parsed = onnx.load_from_string(imported_graph(model, **rest))
        weight = next(t for t in parsed.graph.initializer if t.name == "W")
        content = bytearray(weight.raw_data)
        content[3] ^= 0x80  # the sign of one entry
        weight.raw_data = bytes(content)
        return parsed.SerializeToString()

    monkeypatch.setattr(importing, "imported_graph", changed)
    with pytest.raises(VerificationError, match="holds another program than the file"):
        import_model(ENDINGS["softmax"], RGB)


RESERVED = st.sampled_from(
    ["label", "radius_float32", "logits", "certificate/L", "preprocessing/sub", "model/label"]
)


@given(first=RESERVED, second=RESERVED)
def test_names_that_sealing_adds_are_moved_away(first, second):
    if first == second:
        return
    model = onnx.load_from_string(linear(names=(first, second), output=second))
    model.graph.node[0].name = "label"
    imported = import_model(model.SerializeToString(), RGB)
    check_import(imported, images(5, SHAPE))
    bounds = prove(read_program(imported.network))
    sealed = seal_graph(imported.network, bounds, slack=0.0, metadata={})
    assert read_program(sealed).sha256 == bounds.program_sha256
    assert set(run_onnx(sealed, images(5, SHAPE))) == {
        "logits",
        "label",
        "radius",
        "radius_float32",
    }


def test_notes_dead_branches_and_other_outputs_are_dropped():
    model = onnx.load_from_string(
        linear(node("Neg", ["h"], ["spare"]), node("Mul", ["h", "unused"], ["more"]))
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(12, np.float32), "unused"))
    model.producer_name = model.doc_string = model.graph.doc_string = "/secret/place"
    model.metadata_props.add(key="a", value="/secret/place")
    for item in (*model.graph.node, *model.graph.initializer):
        item.doc_string = "/secret/place"
        item.metadata_props.add(key="pkg", value="/secret/place")
    network = import_model(model.SerializeToString(), RGB).network
    for word in (b"/secret/place", b"spare", b"more", b"unused"):
        assert word not in network


def test_constants_that_nodes_hold_come_along():
    value = onnx.numpy_helper.from_array(np.full(12, 0.5, np.float32), "/secret/place")
    nodes = [
        node("Flatten", ["x"], ["h"]),
        node("Constant", [], ["c"], value=value),
        node("Mul", ["h", "c"], ["m"]),
        node("Gemm", ["m", "W"], ["z"], transB=1),
    ]
    model = onnx_file(nodes, shape=SHAPE, weights={"W": W}, outputs=("z",))
    imported = import_model(model, RGB)
    assert check_import(imported, images(20, SHAPE)) < 1e-4
    assert b"/secret/place" not in imported.network


@pytest.mark.parametrize("opset", [13, 18, 23])
def test_every_opset_is_kept(opset):
    nodes = [node("Flatten", ["x"], ["h"]), node("Gemm", ["h", "W"], ["z"], transB=1)]
    model = onnx_file(nodes, shape=SHAPE, weights={"W": W}, outputs=("z",), opset=opset)
    network = onnx.load_from_string(import_model(model, RGB).network)
    assert [entry.version for entry in network.opset_import] == [opset]


@pytest.mark.parametrize(
    ("preprocessing", "words"),
    [
        (Preprocessing(mean=(0.5, 0.5)), "found 2 numbers as mean for an input of shape"),
        (Preprocessing(std=(1.0,) * 4), "found 4 numbers as std"),
        (Preprocessing(std=(1e-60,)), "a divisor of 0"),
        (Preprocessing(mean=(1e60,)), "infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_numbers_that_fit_no_channel_are_refused(preprocessing, words):
    with pytest.raises(ModelError, match=words) as caught:
        import_model(ENDINGS["logits"], preprocessing)
    assert "\n" not in str(caught.value)


@draws(test=30, fuzz=500)
@given(content=programs())
def test_a_random_program_is_imported_as_it_is(content):
    imported = import_model(content, Preprocessing())
    original = read_program(content)
    assert read_program(imported.network).sha256 == original.sha256
    assert check_import(imported, images(5, original.input_shape)) == 0


LAYOUTS = {
    "channels last": ((3, 2, 4), (2, 4, 3), lambda x: x.transpose(0, 2, 3, 1)),
    "grey": ((1, 4, 6), (4, 6), lambda x: x[:, 0]),
    "grey, channels last": ((1, 4, 6), (4, 6, 1), lambda x: x.transpose(0, 2, 3, 1)),
    "flat": ((1, 4, 6), (24,), lambda x: x.reshape(-1, 24)),
    "as they are": ((3, 2, 4), (3, 2, 4), lambda x: x),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_are_fed_in_the_layout_that_the_file_asks_for(name):
    shape, wanted, laid_out = LAYOUTS[name]
    V = RNG.standard_normal((4, 24)).astype(np.float32)
    V[:, :7] *= 10  # pixels that change places are seen
    nodes = [node("Flatten", ["x"], ["h"]), node("Gemm", ["h", "V"], ["z"], transB=1)]
    content = onnx_file(nodes, shape=wanted, weights={"V": V}, outputs=("z",))
    preprocessing = Preprocessing((0.5,), (0.25,))
    imported = import_model(content, preprocessing, images=shape)
    inputs = images(9, shape)
    assert check_import(imported, inputs) < 1e-4
    program = read_program(imported.network)
    assert program.input_shape == shape
    expected = laid_out((inputs.astype(float) - 0.5) / 0.25).reshape(9, 24) @ V.T.astype(float)
    np.testing.assert_allclose(logits_in_float64(program, inputs), expected, atol=1e-9)
    plain = prove(read_program(content))
    assert prove(program).lipschitz_bound == pytest.approx(4 * plain.lipschitz_bound)
    assert prove(program).float32 is not None


@pytest.mark.parametrize(
    ("shape", "wanted", "words"),
    [
        ((3, 2, 4), (24,), "could be in two orders"),
        ((3, 2, 4), (4, 2, 3), r"accepted for this data is \[3, 2, 4\] .*, \[2, 4, 3\]"),
        ((1, 4, 6), (6, 4), r"\[4, 6\] or \[24\]"),
        ((1, 4, 6), (1, 1, 4, 6), r"examples of shape \[1, 1, 4, 6\]"),
    ],
)
def test_a_layout_that_fits_not_or_in_two_ways_is_refused(shape, wanted, words):
    content = onnx_file([node("Flatten", ["x"], ["logits"])], shape=wanted)
    with pytest.raises(ModelError, match=words):
        import_model(content, Preprocessing(), images=shape)


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 1, 2), (1, 0, 2)])
def test_alarm_pixels_in_another_order_are_caught(order, monkeypatch):
    V = RNG.standard_normal((4, 12)).astype(np.float32)
    nodes = [node("Flatten", ["x"], ["h"]), node("Gemm", ["h", "V"], ["logits"], transB=1)]
    content = onnx_file(nodes, shape=(2, 2, 3), weights={"V": V})
    stated = layout.Layout.apply

    def wrong(_, x):
        return x.transpose(0, *(axis + 1 for axis in order)).reshape(-1, 2, 2, 3)

    monkeypatch.setattr(layout.Layout, "apply", wrong)
    imported = import_model(content, Preprocessing(), images=(3, 2, 2))
    with pytest.raises(VerificationError, match="logits differ"):
        check_import(imported, images(5, (3, 2, 2)))
    monkeypatch.setattr(layout.Layout, "apply", stated)
    assert check_import(imported, images(5, (3, 2, 2))) < 1e-5
