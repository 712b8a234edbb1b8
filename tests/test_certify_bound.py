"""`certify bound`: the table and the JSON of an ONNX file, and what is refused."""

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from certify.checking.bounding import bound_file, print_bounds
from certify.cli import main
from models.errors import SoundnessError
from models.proof.bounds import prove
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, onnx_file, orthogonal_classifier

node = helper.make_node
COLUMNS = ("name", "operator", "shape", "method", "upper_bound", "lower_bound", "ratio")
HEAD = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


@pytest.fixture
def certify(monkeypatch, capsys):
    """The command in this process, which has loaded torch already: status, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["certify", "bound", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def written(folder, content):
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def with_softmax():
    nodes = [
        node("Flatten", ["x"], ["h"], name="[bold]flat"),
        node("Gemm", ["h", "W"], ["z"], transB=1, name="head"),
        node("Softmax", ["z"], ["p"], axis=1),
    ]
    return onnx_file(nodes, shape=(2, 2, 2), weights={"W": HEAD}, outputs=("p",))


def test_the_json_holds_what_was_proved(tmp_path, certify):
    content = orthogonal_classifier()
    status, out, err = certify(str(written(tmp_path, content)), "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    proved = prove(read_program(content))
    assert found["lipschitz_bound"] == proved.lipschitz_bound
    np.testing.assert_array_equal(found["pair_bounds"], proved.pair_bounds)
    pairs = np.array(found["pair_lower_bounds"])
    assert (pairs <= proved.pair_bounds).all()
    assert (pairs + np.eye(5) > 0).all()
    assert found["program_sha256"] == proved.program_sha256
    assert [set(COLUMNS) <= set(row) for row in found["operators"]] == [True] * 6
    for row, operator in zip(found["operators"], proved.operators, strict=True):
        assert row["upper_bound"] == operator["factor"]
        assert row["lower_bound"] <= row["upper_bound"]
        assert row["ratio"] == pytest.approx(1, abs=1e-6)
    assert 0.5 < found["lipschitz_lower_bound"] <= found["lipschitz_bound"]
    assert found["float32_covered"]


def test_the_table_says_it_in_words(tmp_path, certify):
    status, out, err = certify(str(written(tmp_path, with_softmax())))
    assert (status, err) == (0, "")
    header, *lines = out.splitlines()
    for column in COLUMNS:
        assert column.replace("_", " ") in header
    assert any("[bold]flat" in line and "Flatten" in line for line in lines)
    words = "\n".join(lines)
    proved = bound_file(written(tmp_path, with_softmax()))
    said = [line.split()[-1] for line in lines if line.startswith("Lipschitz bound of the logits")]
    assert float(said[0]) >= proved["lipschitz_bound"]  # in print, too, a bound is rounded up
    seen = [line.split()[-1] for line in lines if "seen, from below" in line]
    assert float(seen[0]) <= proved["lipschitz_lower_bound"]
    assert "bounds of the pairs of classes" in words
    (ratios,) = (line for line in lines if line.startswith("  over what is seen of them"))
    least, largest = (float(word) for word in ratios.split()[-3::2])
    assert 1 <= least <= largest < 1 + 1e-6  # a linear classifier is seen whole
    assert "left out behind the logits           Softmax" in words
    assert "not covered: Softmax behind the logits may round two classes to a tie" in words


def test_weights_beside_the_file_are_read(tmp_path):
    content = orthogonal_classifier()
    onnx.save(
        onnx.load_from_string(content),
        tmp_path / "split.onnx",
        save_as_external_data=True,
        location="split.onnx.data",
        size_threshold=0,
    )
    assert bound_file(tmp_path / "split.onnx")["lipschitz_bound"] == pytest.approx(
        bound_file(written(tmp_path, content))["lipschitz_bound"], rel=0
    )


def test_a_zero_operator_has_no_ratio_and_still_prints(tmp_path, capsys):
    zero = dense_file([np.zeros((4, 4)), np.ones((2, 4))], [None, None], shape=(4,))
    facts = bound_file(written(tmp_path, zero))
    assert facts["operators"][1]["ratio"] is None
    print_bounds(facts, as_json=False)
    print_bounds(facts, as_json=True)
    assert "–" in capsys.readouterr().out


REFUSED = {
    "unknown operators, all at once": (
        onnx_file(
            [
                node("Exp", ["x"], ["a"], name="steep"),
                node("Floor", ["a"], ["b"], name="stairs"),
                node("Flatten", ["b"], ["logits"]),
            ],
            shape=(2, 2, 2),
        ),
        "steep (Exp), stairs (Floor)",
    ),
    "axes that have names": (
        onnx_file([node("Flatten", ["x"], ["logits"])], shape=("c", 4, None)),
        "the input has shape [c, 4, ?] for one example; accepted are axes of known, positive",
    ),
    "no model": (b"hello", "not an ONNX model"),
    "cut off": (orthogonal_classifier()[:-40], "not an ONNX model, or cut off"),
    "empty": (b"", "no ONNX graph"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_in_one_line(name, tmp_path, certify):
    content, words = REFUSED[name]
    status, out, err = certify(str(written(tmp_path, content)))
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path, certify):
    for place in (tmp_path / "none.onnx", tmp_path):
        status, _, err = certify(str(place))
        assert status == 2
        assert len(err.splitlines()) == 1
        assert "accepted is an ONNX file" in err


def test_neither_ray_nor_the_attacks_are_loaded(tmp_path):
    path = written(tmp_path, with_softmax())
    probe = (
        "import sys, certify.checking.bounding as b; from pathlib import Path; "
        f"b.bound_file(Path({str(path)!r})); "
        "print([m for m in ('ray', 'pyautoattack') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_huge_bounds_are_short_and_stay_above_what_is_proven(tmp_path, capsys):
    head = np.array([[3e37, 0.0], [0.0, 1.0]])
    facts = bound_file(written(tmp_path, dense_file([head], [None], shape=(2,))))
    print_bounds(facts, as_json=False)
    out = capsys.readouterr().out
    (said,) = [line.split()[-1] for line in out.splitlines() if line.startswith("Lipschitz bound")]
    assert facts["lipschitz_bound"] <= float(said) <= 1.0001 * facts["lipschitz_bound"]
    assert re.search(r"\d{12}", out) is None


def test_alarm_a_bound_from_below_stops_everything(tmp_path, monkeypatch):
    """What power iteration after two steps would have claimed."""
    monkeypatch.setattr("models.proof.operators.affine.matrix_norm_bound", lambda W: 0.97)
    with pytest.raises(SoundnessError, match=r"gemm0 \(Gemm\) is seen to stretch by"):
        bound_file(written(tmp_path, orthogonal_classifier()))


def test_pairs_that_were_not_looked_at_are_said(tmp_path, capsys):
    head = np.random.default_rng(0).standard_normal((14, 4))
    facts = bound_file(written(tmp_path, dense_file([head], [None], shape=(4,))))
    assert sum(value is None for row in facts["pair_lower_bounds"] for value in row) == 2 * 27
    print_bounds(facts, as_json=True)
    print_bounds(facts, as_json=False)
    assert "of 64 pairs of 91" in capsys.readouterr().out
