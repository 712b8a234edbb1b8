"""What a run leaves, read as files: are they there, and do they agree with each other?"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.audit.claims import Certificate, Proof, check_claims, check_words, read_object
from models.errors import VerificationError, first_line
from models.tables import CERTIFICATES

MOST_BYTES = 2**31
"""Of a file; onnx reads no larger one either."""
MOST_ROWS = 10_000_000
"""Of a table; a few bytes can claim many more."""


@dataclass(frozen=True)
class Documents:
    """The certificate and its neighbours.

    Attributes:
        certificate: claims of `certificate.json`.
        proof: claims of `bounds.json`.
        bounds: the same document, as numbers and lists.
        model: bytes of the sealed file.
        rows: columns of the table, by name.
    """

    certificate: Certificate
    proof: Proof
    bounds: dict[str, Any]
    model: bytes
    rows: dict[str, np.ndarray]


def read_documents(folder: Path, model: Path | None) -> Documents:
    """Read a run's folder, hold every hash against it and every document against the others.

    Raises:
        VerificationError: Naming the first file that is missing, unreadable or another one.
    """
    claimed = read_object(_bytes(folder / "certificate.json"), "certificate.json")
    certificate = check_claims(claimed, Certificate, "certificate.json")
    check_words(certificate)
    content = _bytes(model or folder / "model.onnx")
    table, proof = (_bytes(folder / name) for name in ("certificates.parquet", "bounds.json"))
    for name, found, sha256 in (
        ("model", content, certificate.model_sha256),
        ("certificates.parquet", table, certificate.certificates_sha256),
        ("bounds.json", proof, certificate.bounds_sha256),
    ):
        if hashlib.sha256(found).hexdigest() != sha256:
            raise VerificationError(f"files: SHA-256 of {name} is not the certificate's")
    bounds = read_object(proof, "bounds.json")
    proved = check_claims(bounds, Proof, "bounds.json")
    _check_agreement(certificate, proved)
    job = _checked_job(folder, certificate)
    rows = read_columns(table)
    _check_counts(rows, certificate, eps=sorted(job["certify"]["eps"]))
    return Documents(certificate, proved, bounds, content, rows)


def _bytes(path: Path) -> bytes:
    """A file's content; a pipe or a device could give bytes for ever."""
    try:
        if path.exists() and not path.is_file():
            raise VerificationError(f"files: {path.name} is no file")
        if path.stat().st_size > MOST_BYTES:
            raise VerificationError(f"files: {path.name} is larger than {MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as fault:
        raise VerificationError(f"files: {path.name}: {fault.strerror}") from None


def _check_agreement(certificate: Certificate, proof: Proof) -> None:
    """What two documents say, they say alike; and tables have a row and a column to a class."""
    shared = (
        *("lipschitz_bound", "feature_bound", "pair_bounds", "refused_float32"),
        *("program_sha256", "assumptions"),
    )
    for key in shared:
        if getattr(certificate, key) != getattr(proof, key):
            raise VerificationError(f"files: bounds.json and certificate.json differ in {key}")
    if proof.input_size != int(np.prod(certificate.input_shape, dtype=object)):
        raise VerificationError("files: input_size of bounds.json is not that of input_shape")
    if (proof.float32 is None) == (proof.refused_float32 is None):
        raise VerificationError("files: refused_float32 says why there are no float32 errors")
    classes = len(certificate.classes)
    if len(set(certificate.classes)) < classes:
        raise VerificationError("files: two classes of certificate.json have one name")
    errors = {"float64": proof.float64} | ({"float32": proof.float32} if proof.float32 else {})
    tables = {"pair_bounds": proof.pair_bounds}
    for name, error in errors.items():
        tables |= {f"{name}.constant": error.constant, f"{name}.slope": error.slope}
    for name, table in tables.items():
        if len(table) != classes or any(len(row) != classes for row in table):
            raise VerificationError(f"files: {name} of bounds.json has not {classes} × {classes}")
        apart = np.array(table)[~np.eye(classes, dtype=bool)]
        if name != "pair_bounds" and not (apart > 0).all():
            raise VerificationError(
                f"bounds: {name}: errors of two classes are no positive numbers"
            )


def _checked_job(folder: Path, certificate: Certificate) -> dict[str, Any]:
    """The job; what it may use, asks of its result, or where a hashed model lay is not hashed."""
    job = read_object(_bytes(folder / "job.json"), "job.json")
    decisive = {key: value for key, value in job.items() if key not in ("resources", "gates")}
    if job["model"].get("sha256"):
        decisive["model"] = {key: job["model"][key] for key in job["model"] if key != "path"}
    text = json.dumps(decisive, sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != certificate.job_sha256:
        raise VerificationError("files: SHA-256 of job.json is not the certificate's")
    for key, found, asked in (
        ("name", certificate.name, job["name"]),
        ("source_sha256", certificate.source_sha256, job["model"].get("sha256")),
    ):
        if found != asked:
            raise VerificationError(f"files: {key} of certificate.json is not the job's")
    return job


def read_columns(content: bytes) -> dict[str, np.ndarray]:
    """Columns of the table, checked for kind, size and range.

    Raises:
        VerificationError: If it is no such table.
    """
    try:
        stored = pq.ParquetFile(io.BytesIO(content))
        if stored.metadata.num_rows > MOST_ROWS:
            raise VerificationError(f"files: certificates.parquet has over {MOST_ROWS} rows")
        if not stored.schema_arrow.equals(CERTIFICATES, check_metadata=False):
            raise VerificationError("files: certificates.parquet has other columns")
        table = stored.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as fault:
        raise VerificationError(
            f"files: certificates.parquet is no Parquet: {first_line(fault)}"
        ) from None
    rows = {name: table[name].to_numpy() for name in CERTIFICATES.names}
    for name, values in rows.items():
        required = name != "radius_float32"
        held = values if required else values[~np.isnan(values)]
        if (required and table[name].null_count) or not (
            np.isfinite(held).all() and not np.signbit(held).any()
        ):
            raise VerificationError(f"files: column {name} holds what is no number from 0 up")
    if not len(rows["index"]):
        raise VerificationError("files: certificates.parquet has no row")
    if not (rows["index"][1:] > rows["index"][:-1]).all():
        raise VerificationError("files: column index does not rise from row to row")
    covered = ~np.isnan(rows["radius_float32"])
    if not (rows["radius_float32"][covered] <= rows["radius"][covered]).all():
        raise VerificationError("files: a radius_float32 is larger than its radius")
    return rows


def _check_counts(
    rows: dict[str, np.ndarray], certificate: Certificate, *, eps: list[float]
) -> None:
    correct = rows["label"] == rows["prediction"]
    if [count.eps for count in certificate.counts] != eps:
        raise VerificationError("files: counts are not those of each eps of the job")
    for count in certificate.counts:
        found = {
            "eps": count.eps,
            "examples": len(correct),
            "correct": int(correct.sum()),
            "certified": int((correct & (rows["radius"] > count.eps)).sum()),
            "certified_float32": int((correct & (rows["radius_float32"] > count.eps)).sum()),
        }
        if found != count.model_dump():
            raise VerificationError(f"files: counts at eps {count.eps} are {found} in the table")
