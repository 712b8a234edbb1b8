"""What a run leaves, read as files: are they there, and are they the ones that are meant?"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError, VerificationError

FORMAT = "certify certificate 1"
TESTS = (("x_test", "y_test"), ("test_images", "test_labels"), ("images", "labels"))
TRAINS = (("x_train", "y_train"), ("train_images", "train_labels"))
COLUMNS = ("index", "label", "prediction", "rival", "margin", "radius", "radius_float32")


Images = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images as the source stores them, their labels, and their places in the source."""


@dataclass(frozen=True)
class Documents:
    """The certificate and its neighbours; columns of the table by name."""

    certificate: dict[str, Any]
    bounds: dict[str, Any]
    model: bytes
    rows: dict[str, np.ndarray]


def read_documents(folder: Path, model: Path | None) -> Documents:
    """Read a run's folder and hold every hash against it.

    Raises:
        VerificationError: Naming the first file that is missing, unreadable or another one.
    """
    certificate = _json(folder, "certificate.json")
    if certificate.get("format") != FORMAT:
        raise VerificationError(f"files: certificate.json is not of the format {FORMAT!r}")
    content = _bytes(model or folder / "model.onnx")
    table, proof = (_bytes(folder / name) for name in ("certificates.parquet", "bounds.json"))
    for name, found, claimed in (
        ("model", content, certificate.get("model_sha256")),
        ("certificates.parquet", table, certificate.get("certificates_sha256")),
        ("bounds.json", proof, certificate.get("bounds_sha256")),
    ):
        if hashlib.sha256(found).hexdigest() != claimed:
            raise VerificationError(f"files: SHA-256 of {name} is not the certificate's")
    bounds = _json(folder, "bounds.json")
    shared = ("lipschitz_bound", "feature_bound", "pair_bounds", "refused_float32")
    for key in (*shared, "program_sha256"):
        if bounds.get(key) != certificate.get(key):
            raise VerificationError(f"files: bounds.json and certificate.json differ in {key}")
    job = _checked_job(folder, certificate)
    rows = _columns(table)
    _check_counts(rows, certificate, eps=sorted(job["certify"]["eps"]))
    return Documents(certificate, bounds, content, rows)


def npz_images(path: Path) -> Images:
    """Images, labels and places of an `.npz` with the names that `certify submit` knows.

    Raises:
        DataError: If the file is no such `.npz`.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            pair = next((names for names in (*TESTS, *TRAINS) if names[0] in stored), None)
            if pair is None or pair[1] not in stored:
                raise DataError(f"{path} has no images and labels under known names")
            images, labels = stored[pair[0]], stored[pair[1]]
    except (OSError, ValueError, EOFError, BadZipFile) as fault:
        raise DataError(f"{path} cannot be read: {fault}; accepted is an .npz file") from None
    return images, labels.reshape(-1), np.arange(len(images))


def certified_images(found: Images, documents: Documents) -> np.ndarray:
    """The certified images as float32, held against labels and hash of the certificate.

    Args:
        found: images, labels and rising places in the source; others than the certified may be
            among them.
        documents: whose table names the places.

    Raises:
        VerificationError: If it is other data than the certificate speaks of.
    """
    images, labels, places = found
    index = documents.rows["index"]
    at = np.searchsorted(places, index)
    if len(index) and (at.max() >= len(places) or (places[at] != index).any()):
        raise VerificationError("data: the table names a row that the data does not have")
    images, labels = images[at], labels[at]
    shape = tuple(documents.certificate["input_shape"])
    if images.shape[1:] != shape:
        images = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    hashed = hashlib.sha256()
    for array, kind in ((images, None), (labels, "<i8"), (index, "<i8")):
        kept = np.ascontiguousarray(array, dtype=kind)
        hashed.update(f"{kept.dtype.str}{kept.shape}".encode())
        hashed.update(kept.tobytes())
    if hashed.hexdigest() != documents.certificate.get("data_sha256"):
        raise VerificationError(
            "data: SHA-256 of images, labels and order is not the certificate's"
        )
    if not np.array_equal(labels, documents.rows["label"]):
        raise VerificationError("data: labels are not those of the table")
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    if images.dtype != np.float32 or not ((images >= 0) & (images <= 1)).all():
        raise VerificationError("data: images are not float32 in [0, 1]")
    return np.asarray(images)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise VerificationError(f"files: {path.name}: {fault.strerror}") from None


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(folder / name))
    except ValueError:
        raise VerificationError(f"files: {name} is no JSON") from None
    if not isinstance(found, dict):
        raise VerificationError(f"files: {name} is no JSON object")
    return found


def _checked_job(folder: Path, certificate: dict[str, Any]) -> dict[str, Any]:
    """The job; what it may use, asks of its result, or where a hashed model lay is not hashed."""
    job = _json(folder, "job.json")
    decisive = {key: value for key, value in job.items() if key not in ("resources", "gates")}
    if job["model"].get("sha256"):
        decisive["model"] = {key: job["model"][key] for key in job["model"] if key != "path"}
    text = json.dumps(decisive, sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != certificate.get("job_sha256"):
        raise VerificationError("files: SHA-256 of job.json is not the certificate's")
    return job


def _columns(content: bytes) -> dict[str, np.ndarray]:
    """Columns of the table, checked for type and range."""
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as fault:
        reason = str(fault).partition("\n")[0]
        raise VerificationError(f"files: certificates.parquet is no Parquet: {reason}") from None
    if tuple(table.column_names) != COLUMNS:
        raise VerificationError("files: certificates.parquet has other columns")
    rows = {name: table[name].to_numpy() for name in COLUMNS}
    for name in COLUMNS[:-1]:
        values = rows[name]
        if table[name].null_count or not (np.isfinite(values).all() and (values >= 0).all()):
            raise VerificationError(f"files: column {name} holds what is no number from 0 up")
    covered = ~np.isnan(rows["radius_float32"].astype(np.float64))
    if not (rows["radius_float32"][covered] <= rows["radius"][covered]).all():
        raise VerificationError("files: a radius_float32 is larger than its radius")
    return rows


def _check_counts(
    rows: dict[str, np.ndarray], certificate: dict[str, Any], *, eps: list[float]
) -> None:
    correct = rows["label"] == rows["prediction"]
    counts = certificate["counts"]
    if [count["eps"] for count in counts] != eps:
        raise VerificationError("files: counts are not those of each eps of the job")
    for count in counts:
        budget = count["eps"]
        found = {
            "eps": budget,
            "examples": len(correct),
            "correct": int(correct.sum()),
            "certified": int((correct & (rows["radius"] > budget)).sum()),
            "certified_float32": int((correct & (rows["radius_float32"] > budget)).sum()),
        }
        if found != count:
            raise VerificationError(f"files: counts at eps {budget} are {found} in the table")
