"""The formulas of sealed files, as the audit reads them: whatever the opset or the rank."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import helper

from models.audit.claims import Certificate, Proof
from models.audit.documents import Documents
from models.audit.sealed import check_sealed, read_sealed
from models.certificate_format import DOMAIN, FORMAT, NORM, SEMANTICS, model_metadata
from models.errors import VerificationError
from models.proof.bounds import prove
from models.proof.importing import Preprocessing, import_model
from models.proof.reading.reader import read_program
from models.proof.sealed_graph import seal_graph
from tests.oracles import onnx_file

node = helper.make_node
SLACK = 2.0**-20
NOUGHT = hashlib.sha256(b"").hexdigest()


def network(*, opset, shape, smooth=False):
    rng = np.random.default_rng(0)
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Tanh" if smooth else "Relu", ["f"], ["h"]),
        node("Gemm", ["h", "W"], ["z"], transB=1, name="head"),
    ]
    W = rng.standard_normal((3, int(np.prod(shape)))).astype(np.float32)
    content = onnx_file(nodes, shape=shape, weights={"W": W}, opset=opset, outputs=("z",))
    return import_model(content, Preprocessing(None, None)).network


def sealed_and_certified(content):
    """A sealed file, and the documents that a run would write of it."""
    bounds = prove(read_program(content))
    words = {
        "classes": ["a", "b", "c"],
        "lipschitz_bound": bounds.lipschitz_bound,
        "job_sha256": NOUGHT,
        "program_sha256": bounds.program_sha256,
    }
    model = seal_graph(content, bounds, slack=SLACK, metadata=model_metadata(**words))
    proof = json.loads(json.dumps(bounds.to_json()))
    shared = ("feature_bound", "pair_bounds", "refused_float32", "assumptions")
    hashes = ("model", "data", "certificates", "bounds")
    certificate = Certificate(
        **words,
        **{key: proof[key] for key in shared},
        **{f"{key}_sha256": NOUGHT for key in hashes},
        format=FORMAT,
        name="a",
        norm=NORM,
        domain=DOMAIN,
        semantics=SEMANTICS,
        input_shape=list(read_program(content).input_shape),
        sealed_radius={"slack": SLACK, "largest_shortfall": SLACK},
        counts=[],
    )
    return model, Documents(certificate, Proof.model_validate(proof), proof, model, {})


@pytest.mark.parametrize("opset", [13, 17, 18, 20, 23])
@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_an_honest_file_holds_in_every_opset_and_rank(opset, shape):
    model, documents = sealed_and_certified(network(opset=opset, shape=shape))
    check_sealed(read_sealed(model), documents, np.array(documents.proof.pair_bounds))


def test_a_file_without_a_float32_radius_holds_and_may_not_gain_one():
    model, documents = sealed_and_certified(network(opset=20, shape=(6,), smooth=True))
    pairs = np.array(documents.proof.pair_bounds)
    assert documents.proof.float32 is None
    check_sealed(read_sealed(model), documents, pairs)
    forged = onnx.load_from_string(model)
    forged.graph.node.append(node("Identity", ["radius"], ["radius_float32"]))
    forged.graph.output.append(helper.make_tensor_value_info("radius_float32", 1, ["batch"]))
    with pytest.raises(VerificationError, match="its outputs are not logits, label, radius"):
        check_sealed(read_sealed(forged.SerializeToString()), documents, pairs)


def test_a_table_below_what_the_audit_proves_is_named_though_it_is_the_claim():
    model, documents = sealed_and_certified(network(opset=20, shape=(6,)))
    proved = 1.001 * np.array(documents.proof.pair_bounds)
    with pytest.raises(VerificationError, match="table L is not on the safe side"):
        check_sealed(read_sealed(model), documents, proved)


@pytest.mark.parametrize("output", ["label", "radius", "radius_float32"])
def test_no_node_of_a_formula_can_be_left_out_or_turned(output):
    """Each operand of each node, exchanged for the one before it: no formula stays what it was."""
    model, _ = sealed_and_certified(network(opset=20, shape=(6,)))
    honest = read_sealed(model).outputs[output]
    made = {n.output[0]: at for at, n in enumerate(onnx.load_from_string(model).graph.node)}
    pending, seen = [output], set()
    while pending:
        name = pending.pop()
        if name not in made or name in seen or name == "logits":
            continue
        seen.add(name)
        forged = onnx.load_from_string(model)
        turned = forged.graph.node[made[name]]
        pending += turned.input
        if len(turned.input) > 1 and turned.op_type not in ("Mul", "Add", "And", "Min"):
            turned.input[:] = [*turned.input[1:], turned.input[0]]
        else:
            turned.op_type = {"Mul": "Add", "Add": "Mul", "And": "Or", "Min": "Max"}.get(
                turned.op_type, "Identity"
            )
            del turned.attribute[:]
        try:
            found = read_sealed(forged.SerializeToString()).outputs[output]
        except VerificationError:
            continue  # no longer a valid file
        assert found != honest, name
    assert len(seen) >= {"label": 1}.get(output, 15)
