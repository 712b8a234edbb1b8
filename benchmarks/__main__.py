"""`python -m benchmarks [NAME ...]`: run all, or those named, and print what was measured.

`training` takes an hour and runs only where it is named: `python -m benchmarks training --quick`.
"""

import importlib
import os
import sys

NAMES = (
    "bounds",
    "certification",
    "attacks",
    "augmentation",
    "layers",
    "peak",
    "batch",
    "costs",
    "workers",
)
NAMED_ONLY = ("training",)


def main() -> None:
    """Run each benchmark on one thread, so that a ratio is of work and not of scheduling."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    known = (*NAMES, *NAMED_ONLY)
    if sys.argv[1:2] == ["training"]:
        importlib.import_module("benchmarks.training").run(*sys.argv[2:])
        return
    wanted = sys.argv[1:] or NAMES
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; accepted are {', '.join(known)}")
    for name in wanted:
        print(f"\n== {name}")
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
