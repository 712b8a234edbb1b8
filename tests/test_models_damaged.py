"""Files that claim more than they hold: refused in a line by prover and audit, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.oracles import onnx_file

node = helper.make_node
MEMORY = 3 * 2**30
"""Bytes of address space beyond what is taken before the first file."""
SECONDS = 60
"""Of processor time, for all files together."""
HUGE = 2**40
LARGE = 2**28


def ints(*entries):
    return np.array(entries, dtype=np.int64)


def numbers(*entries):
    return np.array(entries, dtype=np.float32)


def file(*nodes, shape=(1, 8), **weights):
    """Nodes that make `e`, and a head behind it."""
    head = [node("Flatten", ["e"], ["f"]), node("Gemm", ["f", "H"], ["logits"], transB=1)]
    weights = {name: np.asarray(array) for name, array in weights.items()}
    weights = {"H": np.ones((3, 8), np.float32)} | weights
    return onnx_file([*nodes, *head], shape=shape, weights=weights)


def chain(kind, count, **attributes):
    """A tensor that doubles, again and again."""
    rows = [
        node(kind, [f"a{at}" if at else "x"] * 2, [f"a{at + 1}"], **attributes)
        for at in range(count)
    ]
    rows[-1].output[0] = "e"
    return rows


def claimed(*dims):
    model = onnx.load_from_string(file(node("Identity", ["x"], ["e"])))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model.SerializeToString()


def external():
    model = onnx.load_from_string(file(node("Identity", ["x"], ["e"])))
    weight = model.graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/dev/zero"
    return model.SerializeToString()


def spread(kind, **attributes):
    return file(node(kind, ["x"], ["e"], **attributes))


def branch():
    value = helper.make_tensor_value_info("y", 1, None)
    inside = helper.make_graph([node("Relu", ["x"], ["y"])], "inside", [], [value])
    return node("If", ["c"], ["e"], then_branch=inside, else_branch=inside)


KERNEL = np.ones((1, 1, 3), np.float32)
BINARY = np.ones((4000, 1, 1), np.bool_)
CASES = {
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
    "cut off": file(node("Relu", ["x"], ["e"]))[:-60],
    "a cycle": file(node("Add", ["b", "x"], ["a"]), node("Relu", ["a"], ["b"]),
                    node("Identity", ["a"], ["e"])),
    "a node that reads itself": file(node("Relu", ["e"], ["e"])),
    "shapes that do not fit": file(node("Relu", ["x"], ["e"]), shape=(1, 7)),
    "NaN": file(node("Mul", ["x", "w"], ["e"]), w=numbers(np.nan)),
    "infinity": file(node("Mul", ["x", "w"], ["e"]), w=numbers(np.inf)),
    "a head without rows": file(node("Relu", ["x"], ["e"]), H=np.ones((0, 8), np.float32)),
    "2 GB": claimed(2**14, 2**15),
    "more than addresses reach": claimed(HUGE, HUGE),
    "weights from a device": external(),
    "an unknown domain": file(node("Relu", ["x"], ["e"], domain="com.example")),
    "If": file(branch(), c=np.array(True)),
    "Loop": file(node("Loop", ["n", "c", "x"], ["e"]), n=ints(HUGE), c=np.array(True)),
    "ConstantOfShape": file(node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["e"]),
                            s=ints(HUGE)),
    "Expand": file(node("Expand", ["x", "s"], ["e"]), s=ints(1, HUGE, 8)),
    "Tile": file(node("Tile", ["x", "s"], ["e"]), s=ints(1, 1, LARGE)),
    "Resize by sizes": file(node("Resize", ["x", "", "", "s"], ["e"], mode="nearest"),
                            s=ints(1, 1, HUGE)),
    "Resize by scales": file(node("Resize", ["x", "", "s"], ["e"], mode="nearest"),
                             s=numbers(1, 1, LARGE)),
    "Pad": file(node("Pad", ["x", "s"], ["e"]), s=ints(0, 0, HUGE, 0, 0, 0)),
    "Pad, edge": file(node("Pad", ["x", "s"], ["e"], mode="edge"), s=ints(0, 0, LARGE, 0, 0, 0)),
    "pads of a Conv": file(node("Conv", ["x", "k"], ["e"], pads=[HUGE, HUGE]), k=KERNEL),
    "dilations of a Conv": file(
        node("Conv", ["x", "k"], ["e"], dilations=[HUGE], pads=[2 * HUGE, 2 * HUGE]), k=KERNEL),
    "strides of a ConvTranspose": file(
        node("ConvTranspose", ["x", "k"], ["e"], strides=[LARGE]), k=KERNEL),
    "output_padding": file(
        node("ConvTranspose", ["x", "k"], ["e"], output_padding=[2]), k=KERNEL),
    "groups": file(node("Conv", ["x", "k"], ["e"], group=HUGE), k=KERNEL),
    "a window of a MaxPool": spread("MaxPool", kernel_shape=[LARGE], pads=[LARGE // 2] * 2),
    "a window of an AveragePool": spread("AveragePool", kernel_shape=[2**20], pads=[2**19] * 2),
    "a window of an LpPool": spread("LpPool", kernel_shape=[LARGE], pads=[LARGE // 2] * 2),
    "parts": spread("Split", axis=1, num_outputs=HUGE),
    "blocks": file(node("DepthToSpace", ["x"], ["e"], blocksize=LARGE), shape=(4, 2, 2)),
    "an input": file(node("Identity", ["x"], ["e"]), shape=(HUGE,)),
    "Gather": file(node("Gather", ["x", "i"], ["e"], axis=2), i=np.zeros(2**20 + 1, np.int64)),
    "Concat": file(*chain("Concat", 60, axis=1)),
    "Mul": file(*chain("Mul", 60)),
    "Add": file(*chain("Add", 2000)),
    "whole numbers, joined": file(
        node("Where", ["b", "p", "q"], ["s"]), node("Reshape", ["x", "s"], ["e"]),
        b=BINARY, p=np.ones((1, 4000, 1), np.int64), q=np.ones((1, 1, 4000), np.int64)),
    "whole numbers that wrap around": file(
        node("Mul", ["p", "p"], ["q"]), node("Add", ["q", "s"], ["t"]),
        node("Reshape", ["x", "t"], ["e"]), p=ints(2**32, 2**32), s=ints(-1, 8)),
}  # fmt: skip

CHILD = """
import json, resource, sys
from pathlib import Path
from models.audit.graph import read_graph
from models.audit.lipschitz import walked
from models.errors import CertifyError
from models.proof.bounds import prove
from models.proof.reading.reader import read_program

def audit(content):
    graph = read_graph(content)
    if not walked(graph.source, graph.steps)["logits"] < float("inf"):
        raise CertifyError("infinite")

taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]),) * 2)
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    for who, read in (("prover", lambda content: prove(read_program(content))), ("audit", audit)):
        try:
            read(path.read_bytes())
            found[f"{path.name} {who}"] = "read"
        except CertifyError as fault:
            found[f"{path.name} {who}"] = str(fault)
        except BaseException as fault:
            found[f"{path.name} {who}"] = f"crash: {fault!r}"
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What prover and audit say of every file, from one process with limits."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no limit on memory here")
    folder = tmp_path_factory.mktemp("damaged")
    for at, content in enumerate(CASES.values()):
        (folder / str(at)).write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), str(MEMORY), str(SECONDS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("who", ["prover", "audit"])
@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_refused_in_a_line(name, who, answers):
    answer = answers[f"{list(CASES).index(name)} {who}"]
    assert answer != "read"
    assert not answer.startswith("crash")
    assert answer.isprintable()
    assert len(answer) < 3000


def test_alarm_a_limit_on_memory_is_one():
    """In the same child, an array that is larger than the limit cannot be made."""
    program = CHILD.split("found =", maxsplit=1)[0] + "import numpy; numpy.ones(2**30)"
    command = [sys.executable, "-c", program, "", str(MEMORY), str(SECONDS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
