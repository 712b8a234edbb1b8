"""The stages that try to prove a run wrong once more, and the one that decides whether it is.

Beside the attacks at each ε and inside each radius: the smallest change of each attacked example,
which no radius may exceed, and the gap of every two classes, which may not move beyond its bound.
"""

import pyarrow as pa

from certify.runs.run import Run
from certify.stages.counterexample import breaking_image, steep_pair
from certify.stages.proving import ATTACKED, BOUNDS, CERTIFICATES, NETWORK, all_attacks
from models.proof.soundness import exceeded, violations
from workers import alarms, attacking, searching, stretching
from workers.searching import Part
from workers.tasks import device

PERTURBED = "perturbations.parquet"
STRETCHED = "stretches.parquet"
MASKING = "masking.json"
SOUNDNESS = "soundness.json"
COUNTEREXAMPLE = "counterexample.npz"


def search(run: Run) -> None:
    """The smallest change of each attacked example; a finished part is never searched again."""
    spec, test = run.job.attack, run.dataset.test
    rows = attacking.attacked_rows(len(test), wanted=spec.examples, seed=run.job.seed)
    parts = searching.parts_of(rows, size=spec.shard_size)
    left = [part for part in parts if not run.dir.has(_part(part))]
    with run.follow("search", total=len(rows), unit="smallest changes") as progress:
        progress.advance(len(rows) - sum(len(part.rows) for part in left))
        for part, table in searching.search_parts(
            run.dir.read(NETWORK),
            run.dir.read_json(BOUNDS),
            test,
            run.dir.read_table(CERTIFICATES),
            all_attacks(run.dir),
            left,
            seed=run.job.seed,
            device=device(run.job.resources),
        ):
            run.dir.write_table(_part(part), table)
            progress.advance(len(table))
    tables = [run.dir.read_table(_part(part)) for part in parts]
    run.dir.write_table(PERTURBED, pa.concat_tables(tables).combine_chunks())
    for part in parts:
        run.dir.delete(_part(part))


def stretch(run: Run) -> None:
    """How far the gap of every two classes is seen to move, beside what was proven of it."""
    searched = run.dir.read_table(PERTURBED)
    with run.follow("stretch", total=1, unit="program") as progress:
        table = stretching.stretch_pairs(
            run.dir.read(NETWORK),
            run.dir.read_json(BOUNDS),
            run.dataset.test.take(searched["row"].to_numpy()),
            searched,
            seed=run.job.seed,
        )
        run.dir.write_table(STRETCHED, table)
        progress.advance()


def look_for_masking(run: Run) -> None:
    """Signs that the attacks were blind: they make robust accuracy too large, never a radius."""
    searched = run.dir.read_table(PERTURBED)
    with run.follow("masking", total=1, unit="program") as progress:
        examples = run.dataset.test.take(searched["row"].to_numpy())
        found = alarms.masking_alarms(
            run.dir.read(NETWORK), examples, searched, run.dir.read_table(ATTACKED)
        )
        run.dir.write_json(MASKING, found)
        progress.advance()


def check(run: Run) -> None:
    """All that was found against all that was certified: one contradiction refutes everything."""
    certificates, stretches = run.dir.read_table(CERTIFICATES), run.dir.read_table(STRETCHED)
    breaks, in_float32 = _real_breaks(run), _float32_breaks(run)
    total = len(breaks) + len(in_float32) + len(stretches)
    with run.follow("check", total=total, unit="finds held against") as progress:
        real = violations(certificates, breaks)
        float32 = violations(certificates, in_float32, semantics="radius_float32")
        steep = exceeded(stretches)
        if real:
            run.dir.write(COUNTEREXAMPLE, breaking_image(run.dataset.test, real[0], breaks))
        elif float32:
            run.dir.write(COUNTEREXAMPLE, breaking_image(run.dataset.test, float32[0], in_float32))
        elif steep:
            run.dir.write(COUNTEREXAMPLE, steep_pair(steep[0], stretches, run.dataset.input_shape))
        found = {"radius": len(real), "radius_float32": len(float32), "pair_bounds": len(steep)}
        deepest = [str(each) for each in (*real, *float32, *steep)][:1]
        run.dir.write_json(
            SOUNDNESS,
            {
                "violations": sum(found.values()),
                "deepest": deepest[0] if deepest else None,
                "by_claim": found,
            },
        )
        progress.advance(total)


def _real_breaks(run: Run) -> pa.Table:
    """What leaves the class in exact arithmetic: attacks, then smallest changes."""
    found = run.dir.read_table(PERTURBED)
    found = found.filter(found["image"].is_valid())
    columns = {"row": "row", "prediction": "found", "distance": "distance", "attacked": "image"}
    return pa.concat_tables([all_attacks(run.dir).select([*columns]), _named(found, columns)])


def _float32_breaks(run: Run) -> pa.Table:
    """What leaves the class, or reaches a tie, in ONNX Runtime inside the float32 radius."""
    found = run.dir.read_table(PERTURBED)
    columns = {
        "row": "row",
        "prediction": "found_float32",
        "distance": "distance_float32",
        "attacked": "image_float32",
    }
    return _named(found.filter(found["image_float32"].is_valid()), columns)


def _named(table: pa.Table, columns: dict[str, str]) -> pa.Table:
    """Columns of one table under the names of another, none of them null."""
    fields = {name: table.schema.field(source) for name, source in columns.items()}
    nullable = {"attacked"}
    schema = pa.schema(
        [pa.field(name, field.type, nullable=name in nullable) for name, field in fields.items()]
    )
    return pa.table([table[source] for source in columns.values()], schema=schema)


def _part(part: Part) -> str:
    return f"search/{part.name}.parquet"
