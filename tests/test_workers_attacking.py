"""Which examples are attacked where; no Ray is needed to choose."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from models.tables import ATTACKS, CERTIFICATES
from workers.attacking import attacked_rows, attacks_at_eps, shards_of, worth_attacking


def certificates(radii, *, wrong=()):
    rows = [
        {"index": at, "label": 0, "prediction": int(at in wrong), "rival": 1, "margin": 1.0,
         "radius": radius, "radius_float32": None}
        for at, radius in enumerate(radii)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CERTIFICATES)


@given(st.lists(st.sampled_from([0.0, 0.4, 0.5, 0.6]), min_size=1), st.integers(0, 9))
def test_all_that_is_not_certified_is_attacked_and_a_share_of_the_rest(radii, seed):
    wrong = {0}
    table, rows = certificates(radii, wrong=wrong), np.arange(len(radii))
    chosen = worth_attacking(table, rows, eps=0.5, audit=0.1, seed=seed)
    open_rows = {at for at, radius in enumerate(radii) if radius <= 0.5 or at in wrong}
    assert open_rows <= set(chosen.tolist())
    certified = len(radii) - len(open_rows)
    assert len(chosen) == len(open_rows) + int(np.ceil(0.1 * certified))
    assert (np.diff(chosen) > 0).all()


def test_an_audit_of_one_attacks_everything_and_of_nothing_only_what_is_open():
    table, rows = certificates([0.4, 0.6, 0.7]), np.arange(3)
    for audit, expected in ((1.0, [0, 1, 2]), (0.0, [0])):
        chosen = worth_attacking(table, rows, eps=0.5, audit=audit, seed=0)
        assert chosen.tolist() == expected


def test_shards_are_named_apart_and_hold_each_row_once():
    chosen = {0.25: np.arange(5), 0.5: np.array([1, 3])}
    shards = shards_of(chosen, np.arange(7), shard_size=2)
    assert len({shard.name for shard in shards}) == len(shards)
    for eps, rows in ((None, np.arange(7)), *chosen.items()):
        found = np.concatenate([shard.rows for shard in shards if shard.eps == eps])
        assert (found == rows).all()


def test_the_table_names_every_row_at_every_eps_in_order():
    attacked = pa.Table.from_pylist(
        [{"row": 2, "eps": 0.5, "attacks": "apgd-ce", "correct": True, "robust": False,
          "claimed": True, "prediction": 1, "distance": 0.45, "gap": 0.1, "attacked": b"1234"}],
        schema=ATTACKS,
    )  # fmt: skip
    table = certificates([0.6, 0.9, 0.4])
    whole = attacks_at_eps([attacked], table, np.arange(3), eps=(0.25, 0.5))
    assert whole["eps"].to_pylist() == [0.25] * 3 + [0.5] * 3
    assert whole["row"].to_pylist() == [0, 1, 2] * 2
    assert whole["attacks"].to_pylist() == [""] * 5 + ["apgd-ce"]
    assert whole["robust"].to_pylist() == [True] * 5 + [False]


def test_the_attacked_rows_are_a_seeded_choice_in_order():
    rows = attacked_rows(100, wanted=10, seed=1)
    assert (rows == attacked_rows(100, wanted=10, seed=1)).all()
    assert (np.diff(rows) > 0).all()
    assert attacked_rows(3, wanted=10, seed=0).tolist() == [0, 1, 2]
