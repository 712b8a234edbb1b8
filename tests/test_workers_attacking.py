"""Which examples are attacked where; no Ray is needed to choose."""

import dataclasses

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from models.proof.soundness import violations
from models.splits import Split
from models.tables import ATTACKS, CERTIFICATES
from tests.oracles import dense_file, images, orthogonal_classifier
from workers.attack_tasks import OWN_RADIUS, Shard, attack_at_eps
from workers.attacking import (
    attacked_rows,
    attacks_at_eps,
    left_by,
    shards_of,
    worth_attacking,
)
from workers.certification import _certify_shard


def certificates(radii, *, wrong=()):
    rows = [
        {"index": at, "label": 0, "prediction": int(at in wrong), "rival": 1, "margin": 1.0,
         "radius": radius, "radius_float32": None}
        for at, radius in enumerate(radii)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CERTIFICATES)


@given(st.lists(st.sampled_from([0.0, 0.4, 0.5, 0.6]), min_size=1), st.integers(0, 9))
def test_all_that_is_right_and_not_certified_is_attacked_and_a_share_of_the_rest(radii, seed):
    wrong = {0}
    table, rows = certificates(radii, wrong=wrong), np.arange(len(radii))
    chosen = worth_attacking(table, rows, eps=0.5, audit=0.1, seed=seed)
    open_rows = {at for at, radius in enumerate(radii) if radius <= 0.5 and at not in wrong}
    assert open_rows <= set(chosen.tolist())
    assert not wrong & set(chosen.tolist())
    certified = len(radii) - len(open_rows) - len(wrong)
    assert len(chosen) == len(open_rows) + int(np.ceil(0.1 * certified))
    assert (np.diff(chosen) > 0).all()


def test_an_audit_of_one_attacks_everything_and_of_nothing_only_what_is_open():
    table, rows = certificates([0.4, 0.6, 0.7]), np.arange(3)
    for audit, expected in ((1.0, [0, 1, 2]), (0.0, [0])):
        chosen = worth_attacking(table, rows, eps=0.5, audit=audit, seed=0)
        assert chosen.tolist() == expected


@given(st.integers(1, 40), st.integers(1, 9))
def test_shards_are_named_apart_of_equal_size_and_hold_each_row_once(examples, size):
    chosen = {0.25: np.arange(examples), 0.5: np.array([1, 3]), 1.0: np.arange(0)}
    names = ("apgd-ce", "fab")
    shards = shards_of(chosen, np.arange(7), names, shard_size=size)
    assert len({shard.name for shard in shards}) == len(shards)
    for eps, attack, rows in (
        (None, OWN_RADIUS, np.arange(7)),
        *((eps, attack, rows) for eps, rows in chosen.items() for attack in names),
    ):
        parts = [shard.rows for shard in shards if (shard.eps, shard.attack) == (eps, attack)]
        assert (np.concatenate([rows[:0], *parts]) == rows).all()
        assert len(parts) == -(-len(rows) // size)
        sizes = {len(part) for part in parts} or {0}
        assert max(sizes) - min(sizes) <= 1
    order = [shard.attack for shard in shards if (shard.eps, shard.number) == (0.25, 0)]
    assert order == list(names)


def attack_row(row, attack, *, eps=0.5, broken=False):
    return {"row": row, "eps": eps, "attacks": attack,
            "left_out": 3 * (attack == "apgd-t"), "correct": True, "robust": not broken,
            "claimed": broken, "broken_by": attack if broken else "", "prediction": int(broken),
            "distance": 0.45 * broken, "gap": 0.1 * broken,
            "attacked": b"1234" if broken else None}  # fmt: skip


def test_the_table_names_every_row_at_every_eps_in_order_and_what_broke_it():
    tables = [
        pa.Table.from_pylist(rows, schema=ATTACKS)
        for rows in (
            [attack_row(2, "apgd-ce", broken=True), attack_row(3, "apgd-ce")],
            [attack_row(3, "square", broken=True)],
            [],
            [attack_row(4, "apgd-ce")],
            [attack_row(4, "square")],
        )
    ]
    table = certificates([0.6, 0.9, 0.4, 0.4, 0.7, 0.3], wrong={5})
    whole = attacks_at_eps(tables, table, np.arange(6), eps=(0.25, 0.5))
    assert whole.schema == ATTACKS
    assert whole["eps"].to_pylist() == [0.25] * 6 + [0.5] * 6
    assert whole["row"].to_pylist() == [0, 1, 2, 3, 4, 5] * 2
    both = "apgd-ce, square"
    assert whole["attacks"].to_pylist() == [""] * 8 + ["apgd-ce", both, both, ""]
    assert whole["left_out"].to_pylist() == [0] * 12
    assert whole["broken_by"].to_pylist() == [""] * 8 + ["apgd-ce", "square", "", ""]
    assert whole["correct"].to_pylist() == ([True] * 5 + [False]) * 2
    assert whole["robust"].to_pylist() == [True] * 5 + [False] + [True] * 2 + [False] * 2 + [
        True, False,
    ]  # fmt: skip


def test_the_attacked_rows_are_a_seeded_choice_in_order():
    rows = attacked_rows(100, wanted=10, seed=1)
    assert (rows == attacked_rows(100, wanted=10, seed=1)).all()
    assert (np.diff(rows) > 0).all()
    assert attacked_rows(3, wanted=10, seed=0).tolist() == [0, 1, 2]


def test_rivals_that_one_attack_left_out_stay_told_when_the_next_has_none_to_leave():
    tables = [
        pa.Table.from_pylist([attack_row(0, name)], schema=ATTACKS)
        for name in ("apgd-ce", "apgd-t", "square")
    ]
    whole = attacks_at_eps(tables, certificates([0.4]), np.arange(1), eps=(0.5,))
    assert whole["attacks"].to_pylist() == ["apgd-ce, apgd-t, square"]
    assert whole["left_out"].to_pylist() == [3]


def test_an_aimed_shard_leaves_out_what_is_out_of_reach_and_says_so():
    program = read_program(orthogonal_classifier(shape=(1, 4, 4), classes=5, seed=3))
    model, bounds = orthogonal_classifier(shape=(1, 4, 4), classes=5, seed=3), prove(program)
    inputs = images(8, (1, 4, 4), seed=3)
    found = certify_examples(program, bounds, inputs)
    eps = float(np.median(found.radii))
    labels = found.predictions.astype(np.int64)
    labels[0] = (labels[0] + 1) % 5
    split = Split(inputs, labels, np.arange(8))
    robust, left_out = {}, {}
    for aimed, name in ((False, "apgd-t"), (True, "apgd-t"), (True, "fab-t")):
        shard = Shard(0, np.arange(8), eps, name, aimed=aimed)
        told = (model, bounds.to_json(), split, np.arange(8), shard, 0, "cpu")
        table = attack_at_eps(*told)
        assert table.schema == ATTACKS
        robust[aimed, name] = table["robust"].to_pylist()
        left_out[aimed, name] = table["left_out"].to_numpy()
    assert robust[True, "apgd-t"] == robust[False, "apgd-t"] == robust[True, "fab-t"]
    assert not left_out[False, "apgd-t"].any()
    assert left_out[True, "apgd-t"][0] == 0  # wrong as it is: no attack ran
    assert (left_out[True, "apgd-t"][found.radii > eps] == 0).all()
    assert (left_out[True, "fab-t"] == left_out[True, "apgd-t"]).all()
    assert left_out[True, "fab-t"].any()


def test_a_claim_that_was_not_confirmed_is_attacked_again_where_the_authors_need_not_be_followed():
    rejected = attack_row(1, "apgd-ce") | {"claimed": True}
    rows = [attack_row(0, "apgd-ce"), rejected, attack_row(2, "apgd-ce", broken=True)]
    table = pa.Table.from_pylist(rows, schema=ATTACKS)
    shard = Shard(0, np.arange(3), 0.5, "apgd-ce")
    assert left_by(shard, table).tolist() == [0]
    aimed = dataclasses.replace(shard, aimed=True)
    assert left_by(aimed, table).tolist() == [0, 1]
    later = pa.Table.from_pylist([attack_row(row, "square") for row in (0, 1)], schema=ATTACKS)
    whole = attacks_at_eps([table, later], certificates([0.4] * 3), np.arange(3), eps=(0.5,))
    assert whole["claimed"].to_pylist() == [False, True, True]
    assert whole["robust"].to_pylist() == [True, True, False]


def test_alarm_what_is_falsely_certified_is_aimed_at_everywhere_and_breaks():
    head = np.random.default_rng(0).standard_normal((5, 16))
    model = dense_file([head], [None], shape=(1, 4, 4))  # its radii are exact
    bounds = prove(read_program(model)).to_json()
    bounds["pair_bounds"] = (0.7 * np.array(bounds["pair_bounds"])).tolist()
    split = Split((0.4 + 0.2 * images(6, (1, 4, 4))).astype("f4"), np.zeros(6, int), np.arange(6))
    table = _certify_shard(model, bounds, split)
    radii, predictions = (table[name].to_numpy() for name in ("radius", "prediction"))
    split = Split(split.images, predictions.astype(np.int64), split.indices)
    row = int(radii.argmax())
    eps = 0.99 * float(radii[row])
    shard = Shard(0, np.array([row]), eps, "apgd-t", aimed=True)
    one = split.take(np.array([row]))
    found = attack_at_eps(model, bounds, one, np.array([row]), shard, 0, "cpu")
    assert found["left_out"].to_pylist() == [0]
    assert found["robust"].to_pylist() == [False]
    assert [each.row for each in violations(table, found)] == [row]
