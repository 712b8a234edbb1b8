"""The images that a certificate speaks of: are they the ones that were found?"""

import hashlib
from dataclasses import dataclass

import numpy as np

from models.audit.documents import Documents
from models.errors import VerificationError


@dataclass(frozen=True)
class Images:
    """Images that somebody holds a certificate against.

    Attributes:
        images: `(examples, channels, height, width)`, bytes or float32, all of the test part.
        labels: a class each, from 0.
        places: of each in its source.
        classes: names in the order of the labels; None where the source has none.
        origin: where they were found, in words.
    """

    images: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    classes: tuple[str, ...] | None
    origin: str


def certified_images(found: Images, documents: Documents) -> np.ndarray:
    """The certified images as float32, held against the table and the hash of the certificate.

    The table must speak of every image that was found: a certificate that leaves out some of the
    test part could leave out those that it would fail on.

    Raises:
        VerificationError: If it is other data than the certificate speaks of.
    """
    index = documents.rows["index"]
    if not np.array_equal(found.places, index):
        missing = np.setdiff1d(found.places, index)
        what = f"leaves out row {missing[0]}" if len(missing) else "names rows that are not there"
        raise VerificationError(f"data: the table of {len(index)} rows {what}; {found.origin}")
    hashed = hashlib.sha256()
    for array, kind in ((found.images, None), (found.labels, "<i8"), (index, "<i8")):
        kept = np.ascontiguousarray(array, dtype=kind)
        hashed.update(f"{kept.dtype.str}{kept.shape}".encode())
        hashed.update(kept.tobytes())
    if hashed.hexdigest() != documents.certificate.data_sha256:
        raise VerificationError(
            f"data: SHA-256 of images, labels and order is not the certificate's; {found.origin}"
        )
    if not np.array_equal(found.labels, documents.rows["label"]):
        raise VerificationError("data: labels are not those of the table")
    if found.classes is not None and list(found.classes) != documents.certificate.classes:
        raise VerificationError("data: its classes have other names than the certificate's")
    images = found.images
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    if images.dtype != np.float32 or not ((images >= 0) & (images <= 1)).all():
        raise VerificationError("data: images are not float32 in [0, 1]")
    if list(images.shape[1:]) != documents.certificate.input_shape:
        raise VerificationError("data: images have another shape than the certificate's")
    return np.asarray(images)
