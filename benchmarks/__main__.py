"""`python -m benchmarks [NAME ...]`: run all, or those named, and print what was measured."""

import importlib
import os
import sys

NAMES = (
    "bounds",
    "certification",
    "attacks",
    "augmentation",
    "layers",
    "batch",
    "costs",
    "workers",
)


def main() -> None:
    """Run each benchmark on one thread, so that a ratio is of work and not of scheduling."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    wanted = sys.argv[1:] or NAMES
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; accepted are {', '.join(NAMES)}")
    for name in wanted:
        print(f"\n== {name}")
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
