"""Whole audits of certificates of random programs: honest ones hold, whatever the operators."""

import tempfile
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.audit.audit import HOLDS, audit
from models.errors import ModelError
from models.proof.importing import Preprocessing, import_model
from tests.oracles import form, images
from tests.small_runs import small_run
from tests.strategies import draws, programs


@draws(test=20, fuzz=1000)
@given(content=programs(), seed=st.integers(0, 2**32 - 1))
def test_an_honest_certificate_of_a_random_program_holds(content, seed):
    try:
        imported = import_model(content, Preprocessing(None, None))
    except ModelError:
        hypothesis.reject()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        inputs = images(4, imported.input_shape, seed=seed)
        data = small_run(folder, imported.network, inputs)
        checks = list(audit(folder, data=data))
    assert {check.verdict for check in checks} == {HOLDS}
    assert [check.name for check in checks][-1] == "outputs"


def test_parts_of_a_split_and_branches_that_never_move_hold(tmp_path):
    """Found by the test above: rows named after a part, and the least of two constant branches."""
    node = helper.make_node
    network = form(
        node("Split", ["x"], ["a", "b"], name="split", axis=1, num_outputs=2),
        node("Mul", ["a", "nought"], ["c"], name="c"),
        node("Mul", ["b", "nought"], ["d"], name="d"),
        node("Min", ["c", "d"], ["m"], name="least"),
        node("Concat", ["a", "b", "m"], ["g"], name="join", axis=1),
        shape=(4,),
        nought=np.zeros(2, np.float32),
    )
    data = small_run(tmp_path, network, images(4, (4,)))
    assert {check.verdict for check in audit(tmp_path, data=data)} == {HOLDS}
