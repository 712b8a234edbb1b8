"""What a run leaves of a certified file, made in this process: no training, no Ray, no attacks."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.audit.images import Images
from models.certificate_format import DOMAIN, FORMAT, NORM, SEMANTICS, model_metadata
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from models.proof.sealing import seal
from models.splits import Split
from models.tables import CERTIFICATES

EPS = 0.1


def small_run(folder, network, inputs):
    """Certify some images, each under the class that is predicted, and write the documents.

    Returns:
        The images, as an audit is given them.
    """
    program = read_program(network)
    bounds = prove(program)
    found = certify_examples(program, bounds, inputs)
    floats = found.radii_float32
    columns = {
        "index": np.arange(len(inputs)),
        "label": found.predictions.astype(np.int32),
        "prediction": found.predictions.astype(np.int32),
        "rival": found.rivals.astype(np.int32),
        "margin": found.margins,
        "radius": found.radii,
        "radius_float32": pa.nulls(len(inputs), pa.float64()) if floats is None else floats,
    }
    pq.write_table(pa.table(columns, schema=CERTIFICATES), folder / "certificates.parquet")
    (folder / "bounds.json").write_text(json.dumps(bounds.to_json()))
    job = {"name": "small", "certify": {"eps": [EPS]}, "model": {}}
    (folder / "job.json").write_text(json.dumps(job))
    split = Split(inputs, found.predictions.astype(np.int64), columns["index"])
    words = {
        "classes": [str(label) for label in range(program.classes)],
        "lipschitz_bound": bounds.lipschitz_bound,
        "job_sha256": hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest(),
        "program_sha256": bounds.program_sha256,
    }
    sealed = seal(
        network,
        bounds,
        inputs=inputs,
        predictions=found.predictions,
        margins=found.margins,
        radii=found.radii,
        metadata=model_metadata(**words),
    )
    (folder / "model.onnx").write_bytes(sealed.model)
    proof = bounds.to_json()
    certificate = {
        **words,
        **{key: proof[key] for key in ("feature_bound", "pair_bounds", "refused_float32")},
        **{
            f"{key}_sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for key, name in (
                ("model", "model.onnx"),
                ("certificates", "certificates.parquet"),
                ("bounds", "bounds.json"),
            )
        },
        "format": FORMAT,
        "name": "small",
        "data_sha256": split.sha256(),
        "norm": NORM,
        "domain": DOMAIN,
        "input_shape": list(program.input_shape),
        "semantics": SEMANTICS,
        "assumptions": proof["assumptions"],
        "sealed_radius": {
            "slack": sealed.slack,
            "largest_shortfall": sealed.largest_shortfall,
        },
        "counts": [
            {
                "eps": EPS,
                "examples": len(inputs),
                "correct": len(inputs),
                "certified": int((found.radii > EPS).sum()),
                "certified_float32": 0 if floats is None else int((floats > EPS).sum()),
            }
        ],
    }
    (folder / "certificate.json").write_text(json.dumps(certificate))
    return Images(inputs, split.labels, columns["index"], None, "this process")
