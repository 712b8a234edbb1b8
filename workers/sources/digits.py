"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8 × 8 pixels.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998; its test part, as scikit-learn ships it.
"""

import numpy as np
from sklearn.datasets import load_digits

from workers.sources.source import Part, Source


def read_digits() -> Source:
    """All digits as one part; a pixel is k / 16, exact in float32."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    files = [("scikit-learn digits", len(labels))]
    return Source({"train": Part(images, labels, files)}, tuple(map(str, digits.target_names)))
