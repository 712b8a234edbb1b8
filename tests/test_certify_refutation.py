"""What refutes a run, and what does not: whole stages on small networks, without a cluster."""

import contextlib
import dataclasses
import types

import numpy as np
import pytest

from certify.checking.replay import replay
from certify.runs.run_dir import RunDir
from certify.stages import refutation
from certify.stages.proving import ATTACKED, CERTIFICATES, NETWORK, RADIUS_ATTACKED
from certify.stages.refutation import check
from models.proof.bounds import prove
from models.proof.importing import Preprocessing, import_model
from models.proof.operators.elementwise import Activation
from models.proof.reading.reader import read_program
from models.splits import Split
from models.tables import ATTACKS
from tests.oracles import dense_file, images, orthogonal_classifier
from workers.certification import _certify_shard
from workers.searching import nearest_attacked, parts_of, search_part
from workers.stretching import _stretch

SHAPE = (1, 4, 4)
ROWS = 8
ORTHOGONAL = orthogonal_classifier(shape=SHAPE, width=64)


@dataclasses.dataclass
class Checked:
    """A run that was checked: its folder, tables, and what the check wrote."""

    folder: RunDir
    certificates: object
    searched: object
    stretched: object

    @property
    def found(self):
        return self.folder.read_json(refutation.SOUNDNESS)

    @property
    def shown(self):
        return replay(self.folder.at("counterexample.npz"), self.folder.at(NETWORK))


@pytest.fixture
def checked(tmp_path):
    def run(model, *, inputs=None, bounds=None, labels=None, attacks=None):
        inputs = images(ROWS, SHAPE) if inputs is None else inputs
        bounds = bounds or prove(read_program(model)).to_json()
        labels = np.zeros(len(inputs), dtype=np.int64) if labels is None else labels
        split = Split(inputs, labels, np.arange(len(inputs)))
        certificates = _certify_shard(model, bounds, split)
        attacks = ATTACKS.empty_table() if attacks is None else attacks(certificates)
        (part,) = parts_of(np.arange(len(inputs)), size=len(inputs))
        near = nearest_attacked(certificates, attacks)
        near = [near.get(row) for row in range(len(inputs))]
        searched = search_part(model, bounds, split, certificates, near, part, 0, "cpu")
        stretched = _stretch(model, bounds, split, searched, 0)
        folder = RunDir(tmp_path, "run")
        folder.write(NETWORK, model)
        tables = {
            CERTIFICATES: certificates,
            ATTACKED: attacks,
            RADIUS_ATTACKED: ATTACKS.empty_table(),
            refutation.PERTURBED: searched,
            refutation.STRETCHED: stretched,
        }
        for name, table in tables.items():
            folder.write_table(name, table)
        silent = types.SimpleNamespace(advance=lambda *_: None)
        check(
            types.SimpleNamespace(
                dir=folder,
                dataset=types.SimpleNamespace(test=split, input_shape=inputs.shape[1:]),
                follow=lambda *_, **__: contextlib.nullcontext(silent),
            )
        )
        return Checked(folder, certificates, searched, stretched)

    return run


def test_a_proven_bound_is_not_refuted_and_every_example_has_its_smallest_change(checked):
    run = checked(ORTHOGONAL)
    assert run.found == {
        "violations": 0,
        "deepest": None,
        "by_claim": {"radius": 0, "radius_float32": 0, "pair_bounds": 0},
    }
    table = run.searched.to_pydict()
    assert table["row"] == list(range(ROWS))
    assert (np.array(table["radius"]) <= np.array(table["distance"])).all()
    assert all(one != other for one, other in zip(table["found"], table["prediction"], strict=True))
    inputs = images(ROWS, SHAPE)
    for original, stored, distance in zip(inputs, table["image"], table["distance"], strict=True):
        image = np.frombuffer(stored, dtype="f4").reshape(SHAPE)
        length = np.linalg.norm(image.astype(float) - original)
        assert length <= distance <= length * (1 + 1e-12)
    for real, float32 in zip(table["distance"], table["distance_float32"], strict=True):
        assert float32 == pytest.approx(real, rel=1e-3)
    seen = run.stretched.to_pydict()
    assert all(seen <= bound for seen, bound in zip(seen["seen"], seen["bound"], strict=True))
    assert sum(inputs is not None for inputs in seen["inputs"]) == 1


def test_alarm_a_bound_times_0_7_is_refuted_by_an_image_that_can_be_shown_again(checked):
    head = dense_file([np.random.default_rng(0).standard_normal((5, 16))], [None], shape=SHAPE)
    bounds = prove(read_program(head)).to_json()
    bounds["pair_bounds"] = (0.7 * np.array(bounds["pair_bounds"])).tolist()
    inputs = (0.4 + 0.2 * images(ROWS, SHAPE)).astype("f4")
    run = checked(head, inputs=inputs, bounds=bounds)
    assert run.found["by_claim"]["radius"] >= ROWS - 1
    assert run.found["by_claim"]["pair_bounds"] == 10
    assert "inside its certified radius" in run.found["deepest"]
    assert run.shown["broken"]
    assert run.shown["semantics"] == "radius"


def test_alarm_margin_over_the_square_root_of_two_is_refuted_by_a_pair_alone(checked):
    """Rows of norm 1; images far from any boundary, so that no image shows it."""
    rows = np.zeros((3, 16))
    rows[0, 0], rows[1, 0], rows[1, 1], rows[2, 2] = 1, -1, 0.05, 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    model = dense_file([rows], [np.array([5.0, 0, 0])], shape=SHAPE)
    bounds = prove(read_program(model)).to_json()
    bounds["pair_bounds"] = (1.4143 * (1 - np.eye(3))).tolist()
    run = checked(model, bounds=bounds)
    assert run.found["by_claim"] == {"radius": 0, "radius_float32": 0, "pair_bounds": 1}
    assert "gap of classes 0 and 1 is seen to move by 1.99" in run.found["deepest"]
    assert run.shown["broken"]
    assert run.shown["classes"] == [0, 1]
    assert run.shown["seen"] > 1.99


def test_alarm_an_operator_whose_factor_is_too_small_is_refuted(checked, monkeypatch):
    sound = Activation.stretch

    def unsound(self, shape):
        return dataclasses.replace(sound(self, shape), factor=0.6)

    weights = [np.eye(16), np.random.default_rng(0).standard_normal((5, 16))]
    model = dense_file(weights, [None, None], shape=SHAPE)
    assert checked(model).found["violations"] == 0
    monkeypatch.setattr(Activation, "stretch", unsound)
    assert checked(model).found["by_claim"]["pair_bounds"] > 0


def test_alarm_a_foreign_model_whose_preprocessing_was_left_out_of_its_bound_is_refuted(checked):
    """A division by a standard deviation of 0.25 makes every distance four times as long."""
    weights = [np.eye(16), np.random.default_rng(0).standard_normal((5, 16))]
    content = dense_file(weights, [None, None], shape=SHAPE)
    imported = import_model(content, Preprocessing((0.5,), (0.25,)), images=SHAPE)
    inputs = (0.4 + 0.2 * images(ROWS, SHAPE)).astype("f4")
    honest = checked(imported.network, inputs=inputs)
    assert honest.found["violations"] == 0
    claimed = prove(read_program(content)).to_json()
    claimed["program_sha256"] = read_program(imported.network).sha256
    run = checked(imported.network, inputs=inputs, bounds=claimed)
    assert run.found["by_claim"]["radius"] > ROWS // 2
    assert run.found["by_claim"]["pair_bounds"] > 0
    assert run.shown["broken"]


def test_alarm_a_float32_radius_beyond_a_tie_is_refuted_though_the_real_one_stands(checked):
    """Rounding swallows a small lead: float32 sees a tie where exact arithmetic sees none."""
    model = dense_file([np.array([[1.0], [0.0]])], [np.array([4096.0, 4096.25])], shape=(1,))
    inputs = np.array([[0.75], [0.9]], dtype="f4")
    honest = prove(read_program(model))
    bounds = honest.to_json()
    assert checked(model, inputs=inputs, bounds=bounds).found["violations"] == 0
    for part in ("constant", "slope"):
        bounds["float32"][part] = np.zeros((2, 2)).tolist()
    run = checked(model, inputs=inputs, bounds=bounds)
    assert run.found["by_claim"]["radius_float32"] > 0
    assert run.found["by_claim"]["radius"] == 0
    assert run.shown["broken"]
    assert run.shown["semantics"] == "radius_float32"


def test_alarm_an_undefended_network_has_changes_shorter_than_2_everywhere(checked):
    rng = np.random.default_rng(0)
    weights = [8 * rng.standard_normal((32, 16)), 8 * rng.standard_normal((5, 32))]
    run = checked(dense_file(weights, [None, None], shape=SHAPE))
    distances = np.array(run.searched["distance"].to_pylist(), dtype=float)
    assert (distances <= 2).all()  # robust accuracy at ε = 2 is 0
    assert run.found["violations"] == 0


def test_an_attacked_image_is_where_a_search_begins_if_its_class_is_another(checked):
    def attacks(certificates):
        predictions = certificates["prediction"].to_pylist()
        row = {"eps": 0.5, "attacks": "apgd", "left_out": 0, "correct": True, "robust": False,
               "claimed": True, "gap": 0.1}  # fmt: skip
        found = [
            row | {"row": 0, "prediction": predictions[0], "distance": 0.1, "attacked": b"own"},
            row | {"row": 1, "prediction": 4 - predictions[1], "distance": 0.3, "attacked": b"far"},
            row
            | {"row": 1, "prediction": 4 - predictions[1], "distance": 0.2, "attacked": b"near"},
        ]
        return ATTACKS.empty_table().from_pylist(found, schema=ATTACKS)

    certificates = checked(ORTHOGONAL).certificates
    assert nearest_attacked(certificates, attacks(certificates)) == {1: b"near"}


def test_a_part_gives_the_same_bytes_again(checked):
    first, again = checked(ORTHOGONAL), checked(ORTHOGONAL)
    assert first.searched.equals(again.searched)
    assert first.stretched.equals(again.stretched)
