"""Two workers against one on the Fashion-MNIST example, and what an embedded Ray costs the demo.

The speed-up is of the stages certify and attack, whose workers have loaded what they need before.
The cost of Ray is the time of `certify submit examples/digits.toml` as a user types it, less the
time of the same stages in one process without Ray; both begin with a process that has loaded
nothing, one after the other, and both have all processors of this machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.trained import Trained, fashion_mnist
from models.attacks.suite import attack_names
from models.spec import ResourcesSpec

EXAMPLES = Path(__file__).parent.parent / "examples"
DEMO = Path(os.environ.get("CERTIFY_BENCHMARK_DEMO", EXAMPLES / "digits.toml"))
ATTACKED = int(os.environ.get("CERTIFY_BENCHMARK_EXAMPLES", "0")) or None
"""Fewer attacked examples than the example's own, to try the benchmark itself."""
OURS = ("certify.", "workers.")
PLAIN = "import sys; from benchmarks.workers import without_ray; without_ray(*sys.argv[1:])"


def run() -> None:
    """Print seconds of both stages with one worker and two, their ratio, and the cost of Ray."""
    trained = fashion_mnist()
    seconds = {workers: both_stages(trained, workers=workers) for workers in (1, 2)}
    for workers, (certify, attack) in seconds.items():
        print(f"workers {workers}   certify {certify:8.2f} s   attack {attack:8.2f} s")
    one, two = (sum(seconds[workers]) for workers in (1, 2))
    print(f"both, 1 / 2        {one / two:8.2f} ×   (at least 1.7)")
    with tempfile.TemporaryDirectory() as folder:
        plain = timed(["-c", PLAIN, str(DEMO), folder])
        ray = timed(["-m", "certify", "submit", str(DEMO), "--runs", folder, "--run", "ray"])
    print(f"demo without Ray   {plain:8.2f} s")
    print(f"demo as it is      {ray:8.2f} s")
    print(f"Ray's cost         {ray - plain:8.2f} s   (less than 25)")


def both_stages(trained: Trained, *, workers: int) -> tuple[float, float]:
    """Seconds of certify and of attack with so many workers of one processor each."""
    from workers.attacking import attack_shards, attacked_rows, shards_of, worth_attacking
    from workers.certification import certify_split
    from workers.cluster import embedded_cluster

    job, test = trained.job, trained.dataset.test
    seed, eps = job.seed, job.eps
    with embedded_cluster(ResourcesSpec(workers=workers, cpus_per_worker=1)):
        load_everything(workers)
        begun = time.perf_counter()
        certificates = certify_split(
            trained.model,
            trained.bounds,
            test,
            shard_size=job.certify.shard_size,
            advance=lambda _: None,
        )
        certified = time.perf_counter()
        wanted = ATTACKED or job.attack.examples
        rows = attacked_rows(len(test), wanted=wanted, seed=seed)
        chosen = {
            each: worth_attacking(certificates, rows, eps=each, audit=job.attack.audit, seed=seed)
            for each in eps
        }
        names = attack_names(len(trained.dataset.classes), trained.dataset.input_shape)
        shards = shards_of(chosen, rows, names, shard_size=job.attack.shard_size)
        attacks = attack_shards(
            trained.model,
            trained.bounds,
            test,
            certificates,
            shards,
            done={},
            seed=seed,
            device="cpu",
        )
        done = sum(1 for _ in attacks)
        if done != len(shards):
            raise RuntimeError(f"{done} of {len(shards)} shards were attacked")
        return certified - begun, time.perf_counter() - certified


def load_everything(workers: int) -> None:
    """Have every worker load its packages, all at the same time, so that each takes one task."""
    import ray

    from workers.cluster import _load
    from workers.tasks import remote

    def loaded() -> int:
        _load()
        time.sleep(1)
        return os.getpid()

    while len(set(ray.get([remote(loaded).remote() for _ in range(workers)]))) < workers:
        continue


def timed(arguments: list[str]) -> float:
    """Seconds of a fresh Python."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


def without_ray(job_file: str, runs: str) -> None:
    """Run a job's stages in this process, one shard after another."""
    from certify.jobs.job import load_job
    from certify.runs.run import watched
    from certify.runs.run_dir import RunDir
    from certify.submitting.work import carry_out, work_of

    path, run_dir = Path(job_file), RunDir(Path(runs), "plain")
    work = work_of(load_job(path), folder=path.parent, run_dir=run_dir)
    run_dir.create()
    work.open(path.read_bytes())
    with here(), watched(run_dir, name=work.run.job.name):
        carry_out(work, nullcontext())


@contextmanager
def here() -> Iterator[None]:
    """Have tasks run where they are called, for as long as the block lasts."""
    from certify import pipeline  # noqa: F401 (loads what is replaced)

    replaced: dict[str, Any] = {
        "remote": lambda function, **_: SimpleNamespace(remote=function),
        "share": lambda value: value,
        "result": lambda value: value,
        "as_completed": lambda calls, **_: ((at, call()) for at, call in enumerate(calls)),
        "run_chains": one_after_another,
        "warm_up": lambda _: None,
    }
    ours = [module for name, module in sys.modules.items() if name.startswith(OURS)]
    before = [
        (module, name, vars(module)[name])
        for module in ours
        for name in replaced
        if name in vars(module)
    ]
    for module, name, _ in before:
        setattr(module, name, replaced[name])
    try:
        yield
    finally:
        for module, name, plain in before:
            setattr(module, name, plain)


def one_after_another(chains: Any, **_: Any) -> Iterator[tuple[Any, Any]]:
    """Each chain to its end before the next."""
    for chain in chains:
        label, call = next(chain)
        while True:
            answer = call()
            yield label, answer
            try:
                label, call = chain.send(answer)
            except StopIteration:
                break
