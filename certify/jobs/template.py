"""A commented job file to start from, for `certify init`."""

import json
import os
from pathlib import Path

from models.errors import JobError

TEMPLATE = """\
# A job for `certify submit`: data, a 1-Lipschitz classifier, certificates, attacks, a report.
# Every key but `name` may be left out; the values here are the defaults.

name = {name}
seed = 0                            # of every random number
# What the result must reach; a gate that fails ends the run with exit status 3.
# More of them: "clean_accuracy >= 0.9", "certified_accuracy@0.5 >= 0.7"
gates = ["violations == 0"]

[data]                              # digits | fashion-mnist | folder | npz | parquet
{data}
validation = 0.1                    # share of the training images kept apart to watch training
test = 0.2                          # share kept apart for certificates, where there is no test part

[model]
architecture = "mlp"                # or linear, cnn, lipnext, lipresnet
widths = [256, 256, 256]            # orthogonal layers

[train]
epochs = 12
batch_size = 256
# Larger margins and temperatures trade clean accuracy for radius, as does saturation = 0.8, the
# most that one example can cost; for_eps = 0.5 sets all three.
# Other losses: emma, cross-entropy, offset-cross-entropy, logit-annealing, hinge, kr, hkr,
# soft-hkr, lse-hkr.
loss = {{ name = "certified-radius", margin = 0.75, temperature = 0.25 }}
schedule = "linear"                 # or "cosine", "constant": the learning rate after its rise
# Off unless asked for:
# augment = {{ shift = 2, flip = true, cutout = 8, operations = 2 }}   # vary the training images
# average = {{ start = 0.75 }}        # ship the mean weights of the last quarter of the steps
# best = {{ eps = 0.5, patience = 5 }}  # ship the epoch that is best on the validation part

[certify]
eps = ["36/255", 0.25, 0.5, 1.0]    # L2 budgets; a pixel runs from 0 to 1

[attack]
examples = 500                      # test examples attacked, each inside its own radius too
audit = 0.05                        # share of those certified at ε that AutoAttack still tries

[resources]
workers = 1
gpus_per_worker = 0
"""


def job_template(data: Path | None, *, beside: Path) -> str:
    """The text of a job file.

    Args:
        data: images to use, or None for the built-in digits.
        beside: folder that the job file will lie in.

    Raises:
        JobError: If the data is not there, or of no known kind.
    """
    if data is None:
        return TEMPLATE.format(name='"digits"', data='source = "digits"')
    path = json.dumps(os.path.relpath(str(data), str(beside)), ensure_ascii=False)
    return TEMPLATE.format(
        name=json.dumps(name_from(data)), data=f'source = "{kind_of_data(data)}"\npath = {path}'
    )


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        JobError: If it is, or if the folder cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise JobError(f"{path} exists; accepted is the name of a new file") from None
    except OSError as fault:
        raise JobError(f"{path} cannot be written: {fault.strerror}") from None


def kind_of_data(data: Path) -> str:
    """Kind of source that a path looks like.

    Raises:
        JobError: If there is nothing of a known kind.
    """
    if data.is_dir():
        holds_parquet = any(data.rglob("*.parquet"))
        holds_idx = any(data.glob("*-images*ubyte*"))
        return "parquet" if holds_parquet else "fashion-mnist" if holds_idx else "folder"
    kinds = {".npz": "npz", ".parquet": "parquet"}
    accepted = "accepted are a folder, a .npz or a .parquet file"
    if not data.exists():
        raise JobError(f"{data}: found nothing there; {accepted}")
    if not data.is_file() or data.suffix not in kinds:
        raise JobError(f"{data}: found no data of a known kind; {accepted}")
    return kinds[data.suffix]


def name_from(data: Path) -> str:
    """A job's name from a path."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in data.stem.lower())
    return letters.strip("-")[:63] or "job"
