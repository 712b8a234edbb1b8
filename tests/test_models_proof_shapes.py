"""Shapes that operators tell are those that they make, and reading a file loads no compiler."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from onnx import helper

from models.errors import ModelError
from models.proof.reading.reader import read_program
from tests import test_models_proof_elementwise as elementwise
from tests import test_models_proof_pooling as pooling
from tests import test_models_proof_selection as selection
from tests import test_models_proof_smooth as smooth
from tests.oracles import onnx_file
from tests.strategies import draws, programs

node = helper.make_node
FORMS = elementwise.FORMS | pooling.FACTORS | selection.FORMS | smooth.FORMS


def check_shapes(program):
    """Every tensor of a run has the shape that was told."""
    values = {program.input_name: torch.zeros(2, *program.input_shape)}
    for operator, shape in zip(program.operators, program.shapes, strict=True):
        made = operator.run(*(values[name] for name in operator.operands))
        assert tuple(made.shape) == (2, *shape)
        values[operator.result] = made


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_shapes_that_are_told(name):
    check_shapes(read_program(FORMS[name][0]))


@given(programs())
@draws(test=40, fuzz=1000)
def test_a_program_has_the_shapes_that_are_told(content):
    check_shapes(read_program(content))


def test_branches_that_do_not_fit_side_by_side_are_refused():
    nodes = [
        node("MaxPool", ["x"], ["m"], kernel_shape=[2]),
        node("Concat", ["x", "m"], ["c"], axis=1),
        node("Flatten", ["c"], ["logits"]),
    ]
    with pytest.raises(ModelError, match="side by side"):
        read_program(onnx_file(nodes, shape=(2, 4)))


def test_reading_a_file_loads_no_compiler(tmp_path):
    """Torch's takes a second or more, and a run on no data would load it."""
    nodes = [node("Relu", ["x"], ["a"]), node("Max", ["a", "x"], ["b"]),
             node("Concat", ["b", "a"], ["logits"], axis=1)]  # fmt: skip
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_file(nodes, shape=(4,)))
    program = (
        "import sys; from pathlib import Path; "
        "from models.proof.reading.reader import read_program; "
        f"read_program(Path({str(path)!r}).read_bytes()); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
