"""The stages of a run: each takes artefacts of its folder and gives the next one.

An artefact is written whole and once, so a stage whose artefact is there has been done, and a run
that was stopped goes on where it stopped.
"""

import pyarrow as pa

from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages.training import WEIGHTS, lesson_of
from models.attacks.suite import attack_names
from models.errors import CertifyError
from workers import attacking, certification, foreign, training
from workers.attack_tasks import Shard
from workers.tasks import device

NETWORK = "network.onnx"
IMPORT = "import.json"
BOUNDS = "bounds.json"
CERTIFICATES = "certificates.parquet"
ATTACKED = "attacks.parquet"
RADIUS_ATTACKED = "radius_attacks.parquet"


def export(run: Run) -> None:
    """One ONNX file, held against the trained network on the whole test part."""
    test = run.dataset.test
    with run.follow("export", total=len(test), unit="examples compared") as progress:
        model, difference = training.export(
            lesson_of(run.job, run.dataset), run.dir.read(WEIGHTS), test
        )
        run.dir.write_json("train/parity.json", {"largest_logit_difference": difference})
        run.dir.write(NETWORK, model)
        progress.advance(len(test))


def import_network(run: Run) -> None:
    """The network of a foreign file, held against that file on the whole test part."""
    if run.foreign is None:
        raise CertifyError("the job names no foreign model")
    with run.follow("import", total=len(run.dataset.test), unit="examples compared") as progress:
        difference = foreign.compare_answers(run.foreign)
        preprocessing = run.foreign.imported.preprocessing
        found = {
            "sha256": run.foreign.sha256,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "left_out": run.foreign.imported.ending,
        }
        run.dir.write_json(IMPORT, found | {"largest_logit_difference": difference})
        run.dir.write(NETWORK, run.foreign.imported.network)
        progress.advance(len(run.dataset.test))


def prove(run: Run) -> None:
    """The bounds of every operator and of every two classes, from the file alone."""
    with run.follow("prove", total=1, unit="program") as progress:
        run.dir.write_json(BOUNDS, certification.prove_file(run.dir.read(NETWORK)))
        progress.advance()


def certify(run: Run) -> None:
    """A certified radius to each test example."""
    test = run.dataset.test
    with run.follow("certify", total=len(test), unit="examples") as progress:
        table = certification.certify_split(
            run.dir.read(NETWORK),
            run.dir.read_json(BOUNDS),
            test,
            shard_size=run.job.certify.shard_size,
            advance=progress.advance,
        )
        run.dir.write_table(CERTIFICATES, table)


def attack(run: Run) -> None:
    """Attacks at each ε and inside each radius; what an attack made of a shard is kept."""
    spec, test = run.job.attack, run.dataset.test
    certificates = run.dir.read_table(CERTIFICATES)
    rows = attacking.attacked_rows(len(test), wanted=spec.examples, seed=run.job.seed)
    chosen = {
        eps: attacking.worth_attacking(
            certificates, rows, eps=eps, audit=spec.audit, seed=run.job.seed
        )
        for eps in run.job.eps
    }
    names = attack_names(len(run.dataset.classes), run.dataset.input_shape)
    shards = attacking.shards_of(
        chosen, rows, names, shard_size=spec.shard_size, aimed=spec.audit < 1
    )
    finished = [shard for shard in shards if run.dir.has(_shard(shard))]
    with run.follow(
        "attack", total=sum(len(shard.rows) for shard in shards), unit="attacks"
    ) as progress:
        progress.advance(sum(len(shard.rows) for shard in finished))
        for shard, table in attacking.attack_shards(
            run.dir.read(NETWORK),
            run.dir.read_json(BOUNDS),
            test,
            certificates,
            shards,
            done={shard.name: run.dir.read_table(_shard(shard)) for shard in finished},
            seed=run.job.seed,
            device=device(run.job.resources),
        ):
            run.dir.write_table(_shard(shard), table)
            place = "inside each radius" if shard.eps is None else f"at ε = {shard.eps:.3g}"
            progress.advance(len(shard.rows), note=f"{shard.attack} {place}")
    at_radius = [run.dir.read_table(_shard(shard)) for shard in shards if shard.eps is None]
    at_eps = [run.dir.read_table(_shard(shard)) for shard in shards if shard.eps is not None]
    run.dir.write_table(RADIUS_ATTACKED, pa.concat_tables(at_radius).combine_chunks())
    table = attacking.attacks_at_eps(at_eps, certificates, rows, eps=run.job.eps)
    run.dir.write_table(ATTACKED, table)
    for shard in shards:
        run.dir.delete(_shard(shard))


def all_attacks(run_dir: RunDir) -> pa.Table:
    """Attacks inside each radius, then those at each ε."""
    return pa.concat_tables([run_dir.read_table(RADIUS_ATTACKED), run_dir.read_table(ATTACKED)])


def _shard(shard: Shard) -> str:
    return f"attacks/{shard.name}.parquet"
