"""The prover's claims about a file, and what the audit says of them."""

import copy
import json

import numpy as np

from models.audit.bounds import confirmed_bounds, confirmed_errors
from models.audit.evaluation import evaluate
from models.audit.graph import read_graph
from models.proof.bounds import prove
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import images


def claims_of(content):
    """What the prover says, as it is stored."""
    return json.loads(json.dumps(prove(read_program(content)).to_json()))


def audit_bounds(content, claimed):
    """The audit's graph and factors, where it confirms all that is claimed."""
    graph = read_graph(content)
    factors, _ = confirmed_bounds(graph, claimed)
    confirmed_errors(graph, claimed)
    return graph, factors


def check_honest(content, *, seed=0):
    """Honest claims hold, and the audit computes what ONNX Runtime computes."""
    graph, factors = audit_bounds(content, claims_of(content))
    x = images(5, graph.shape, seed=seed) - np.float32(0.5)
    found, errors = evaluate(graph, x, factors)
    expected = run_onnx(content, x, optimised=False)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert (errors <= 1e-6 * (1 + np.abs(found).max())).all()
    return graph


def lowered(claimed, share):
    """The claims, with everything behind the last operator at a share of its bound."""
    lie = copy.deepcopy(claimed)
    last = lie["operators"][-1]["name"]
    for row in lie["operators"]:
        if row["name"] == last:
            row["factor"] *= share
            row["bound"] *= share
    lie["lipschitz_bound"] *= share
    lie["pair_bounds"] = (np.array(lie["pair_bounds"]) * share).tolist()
    return lie
