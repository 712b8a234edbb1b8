"""A counterexample shows its break from the files alone, and what is none shows nothing."""

import numpy as np
import pytest

from certify.checking.replay import replay
from models.errors import InvalidInputError
from tests.oracles import dense_file

HEAD, BIAS = np.array([[1.0, 0], [0, 0]]), np.array([0, 0.5])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "network.onnx").write_bytes(dense_file([HEAD], [BIAS], shape=(2,)))

    def saved(**changed):
        told = {"original": np.float32([0.8, 0.5]), "attacked": np.float32([0.4, 0.5]),
                "certified": 0, "radius": 0.45}  # fmt: skip
        np.savez(tmp_path / "counterexample.npz", **(told | changed))
        return tmp_path / "counterexample.npz", tmp_path / "network.onnx"

    return saved


def test_a_break_inside_the_radius_is_shown(files):
    found = replay(*files())
    assert found["broken"]
    assert found["distance"] == pytest.approx(0.4, abs=1e-6)
    assert (found["original_class"], found["attacked_class"]) == (0, 1)
    assert found["attacked_class_float32"] == 1


def test_a_tie_in_a_float32_runtime_breaks_what_was_claimed_of_one(files):
    tie = {"attacked": np.float32([0.5, 0.5])}
    assert not replay(*files(**tie))["broken"]
    found = replay(*files(**tie, semantics="radius_float32"))
    assert found["broken"]
    assert found["attacked_class_float32"] == 0
    kept = {"attacked": np.float32([0.6, 0.5]), "semantics": "radius_float32"}
    assert not replay(*files(**kept))["broken"]


def test_two_inputs_show_how_far_a_gap_moves(files, tmp_path):
    counterexample, model = files()
    told = {"first": np.array([0.2, 0.5]), "second": np.array([0.9, 0.5]), "one": 0, "other": 1}
    np.savez(counterexample, **told, bound=0.9)
    found = replay(counterexample, model)
    assert found["broken"]
    assert found["seen"] == pytest.approx(1, abs=1e-6)
    np.savez(counterexample, **told, bound=1.0)
    assert not replay(counterexample, model)["broken"]
    np.savez(counterexample, **(told | {"other": 7}), bound=1.0)
    with pytest.raises(InvalidInputError, match="class 7"):
        replay(counterexample, model)


NONE = {
    "outside the radius": {"radius": 0.39},
    "no other class": {"attacked": np.float32([0.6, 0.5])},
    "outside the domain": {"attacked": np.float32([-0.1, 0.5]), "radius": 2.0},
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_break_is_not_shown_as_one(files, name):
    assert not replay(*files(**NONE[name]))["broken"]


REFUSED = {
    "pickles": {"original": np.array([{}], dtype=object)},
    "another shape": {"original": np.float32([1, 1, 1]), "attacked": np.float32([1, 1, 1])},
    "NaN": {"attacked": np.float32([np.nan, 0])},
    "float64": {"attacked": np.array([0.4, 0.5])},
    "no such class": {"certified": 7},
    "no such claim": {"semantics": "radius_float64"},
    "words for a number": {"radius": "0.45"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_do_not_fit_are_refused(files, name):
    with pytest.raises(InvalidInputError):
        replay(*files(**REFUSED[name]))


def test_a_file_that_is_not_there_or_nothing_is_refused(files, tmp_path):
    counterexample, model = files()
    with pytest.raises(InvalidInputError, match="No such file"):
        replay(tmp_path / "none.npz", model)
    counterexample.write_bytes(b"PK nothing")
    with pytest.raises(InvalidInputError, match="no counterexample"):
        replay(counterexample, model)
