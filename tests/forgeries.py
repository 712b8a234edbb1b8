"""Forgeries of a run, as a clever adversary makes them: every hash is made to fit again.

`FORGERIES` has a row to every claim of a certificate, its proof, its table and its sealed file:
how the claim is forged, and the words that name it.
"""

import hashlib
import io
import json

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import helper, numpy_helper

DOCUMENTS = ("bounds.json", "certificate.json")
FILES = (
    ("model_sha256", "model.onnx"),
    ("certificates_sha256", "certificates.parquet"),
    ("bounds_sha256", "bounds.json"),
)


def edit_json(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def edit_both(run, **values):
    for name in DOCUMENTS:
        edit_json(run / name, lambda found: found.update(values))


def read(run, name):
    return json.loads((run / name).read_text())


def rehash(run):
    """Every hash of the certificate is that of the file beside it."""

    def change(certificate):
        for key, name in FILES:
            certificate[key] = hashlib.sha256((run / name).read_bytes()).hexdigest()

    edit_json(run / "certificate.json", change)


def reword(run):
    """The sealed file says of itself what the certificate says."""
    certificate = read(run, "certificate.json")

    def change(model):
        words = {entry.key: entry.value for entry in model.metadata_props}
        words["classes"] = json.dumps(certificate["classes"], ensure_ascii=False)
        words["lipschitz_bound"] = repr(certificate["lipschitz_bound"])
        words["job_sha256"] = certificate["job_sha256"]
        del model.metadata_props[:]
        helper.set_model_props(model, words)

    edit_graph(run, change)


def edit_table(run, column, change):
    path = run / "certificates.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    values = change(table[column].to_numpy().copy())
    kept = table.schema.field(column)
    write_table(run, table.set_column(place, kept, pa.array(values, kept.type)))


def write_table(run, table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    (run / "certificates.parquet").write_bytes(buffer.getvalue())


def edit_graph(run, change):
    path = run / "model.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def edit_tensors(run, change):
    """Other values for the initialisers of which `change` gives any."""

    def through(model):
        for tensor in model.graph.initializer:
            values = change(tensor.name, numpy_helper.to_array(tensor))
            if values is not None:
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), tensor.name))

    edit_graph(run, through)


def recount(run):
    rows = pq.read_table(run / "certificates.parquet").to_pandas()
    correct = rows["label"] == rows["prediction"]

    def change(certificate):
        for count in certificate["counts"]:
            count |= {"examples": len(rows), "correct": int(correct.sum())}
            for key, column in (("certified", "radius"), ("certified_float32", "radius_float32")):
                count[key] = int((correct & (rows[column] > count["eps"])).sum())

    edit_json(run / "certificate.json", change)


def certificate(key, value):
    """One key of `certificate.json` alone."""
    return lambda run: edit_json(run / "certificate.json", lambda found: found.update({key: value}))


def count(key):
    def forge(run):
        def change(found):
            found["counts"][0][key] += 1

        edit_json(run / "certificate.json", change)

    return forge


def sealed_radius(key, value):
    def forge(run):
        edit_json(run / "certificate.json", lambda f: f["sealed_radius"].update({key: value}))

    return forge


def lowered(key, factor=0.9):
    """A bound that both documents and the file's own words agree to lower."""

    def forge(run):
        value = factor * np.array(read(run, "bounds.json")[key])
        edit_both(run, **{key: value.tolist()})
        reword(run)
        rehash(run)

    return forge


def errors(precision, part):
    def forge(run):
        def change(found):
            found[precision][part] = np.zeros((3, 3)).tolist()

        edit_json(run / "bounds.json", change)
        rehash(run)

    return forge


def operator_row(key, value):
    def forge(run):
        def change(found):
            row = found["operators"][3]
            row[key] = value if isinstance(value, str) else row[key] * value

        edit_json(run / "bounds.json", change)
        rehash(run)

    return forge


def proof(**values):
    """Keys of `bounds.json` alone."""

    def forge(run):
        edit_json(run / "bounds.json", lambda found: found.update(values))
        rehash(run)

    return forge


def both(**values):
    def forge(run):
        edit_both(run, **values)
        rehash(run)

    return forge


def column(name, change):
    def forge(run):
        edit_table(run, name, change)
        rehash(run)
        recount(run)

    return forge


def largest(factor):
    return lambda values: np.where(values == values.max(), factor * values, values)


def metadata(key):
    def forge(run):
        def change(model):
            (entry,) = (entry for entry in model.metadata_props if entry.key == key)
            entry.value = entry.value.replace(entry.value[-2:], "99")

        edit_graph(run, change)
        rehash(run)

    return forge


def constant(name, change):
    def forge(run):
        short = "certificate/" + name
        edit_tensors(run, lambda found, w: change(w).astype(w.dtype) if found == short else None)
        rehash(run)

    return forge


def maker(model, result):
    (node,) = (node for node in model.graph.node if result in node.output)
    return node


def edit_formula(change):
    def forge(run):
        edit_graph(run, lambda model: change(model.graph, lambda result: maker(model, result)))
        rehash(run)

    return forge


def name_other_classes(run):
    edit_json(run / "certificate.json", lambda found: found.update(classes=["2", "1", "0"]))
    reword(run)
    rehash(run)


def change_a_weight(run):
    edit_tensors(run, lambda name, w: w * np.float32(1.01) if name == "gemm_2.weight" else None)
    rehash(run)


def choose_the_worst_class(graph, made):
    made("label").op_type = "ArgMin"


def ignore_the_domain(graph, made):
    made("radius").op_type = "Add"
    made("radius").input[:] = [made("radius").input[1], made("radius").input[2]]


def turn_the_norm(graph, made):
    (norm,) = (node for node in graph.node if node.op_type == "Sqrt")
    norm.op_type = "Neg"


def lower_the_pairs(run):
    """All that speaks of pairs, and the radii that follow."""
    value = 0.7 * np.array(read(run, "bounds.json")["pair_bounds"])
    edit_both(run, pair_bounds=value.tolist())
    edit_table(run, "radius", lambda radii: radii / 0.7)
    scaled = ("certificate/L", "certificate/C")
    edit_tensors(run, lambda name, w: w * np.float32(0.7) if name in scaled else None)
    rehash(run)
    recount(run)


def repeat_a_row(run):
    table = pq.read_table(run / "certificates.parquet")
    write_table(run, table.take([0, *range(len(table))]))
    rehash(run)
    recount(run)


NOUGHT = "0" * 64
SAFE = "is not on the safe side"
CERTIFICATE = {
    "format": (certificate("format", "certify certificate 2"), "files: format of"),
    "name": (certificate("name", "other"), "files: name of certificate.json"),
    "model_sha256": (certificate("model_sha256", NOUGHT), "files: SHA-256 of model"),
    "program_sha256": (certificate("program_sha256", NOUGHT), "differ in program_sha256"),
    "data_sha256": (certificate("data_sha256", NOUGHT), "data: SHA-256"),
    "job_sha256": (certificate("job_sha256", NOUGHT), "files: SHA-256 of job.json"),
    "certificates_sha256": (
        certificate("certificates_sha256", NOUGHT),
        "files: SHA-256 of certificates.parquet",
    ),
    "bounds_sha256": (certificate("bounds_sha256", NOUGHT), "files: SHA-256 of bounds.json"),
    "source_sha256": (certificate("source_sha256", NOUGHT), "files: source_sha256"),
    "norm": (certificate("norm", "Linf"), "files: norm of certificate.json"),
    "domain": (certificate("domain", "all images"), "files: domain of certificate.json"),
    "input_shape": (certificate("input_shape", [1, 2, 8]), "takes images of another shape"),
    "classes": (name_other_classes, "data: its classes have other names"),
    "semantics": (certificate("semantics", {"radius": "in Linf"}), "files: semantics"),
    "lipschitz_bound": (certificate("lipschitz_bound", 0.1), "differ in lipschitz_bound"),
    "feature_bound": (certificate("feature_bound", 0.1), "differ in feature_bound"),
    "pair_bounds": (certificate("pair_bounds", []), "differ in pair_bounds"),
    "refused_float32": (certificate("refused_float32", "no"), "differ in refused_float32"),
    "assumptions": (certificate("assumptions", ["luck"]), "differ in assumptions"),
    "sealed_radius.slack": (sealed_radius("slack", 0.0), f"table slack {SAFE}"),
    "sealed_radius.largest_shortfall": (
        sealed_radius("largest_shortfall", 0.0),
        "farther below the table's than is claimed",
    ),
    "counts.eps": (count("eps"), "files: counts are not those of each eps"),
    "counts.examples": (count("examples"), "files: counts at eps 0.1"),
    "counts.correct": (count("correct"), "files: counts at eps 0.1"),
    "counts.certified": (count("certified"), "files: counts at eps 0.1"),
    "counts.certified_float32": (count("certified_float32"), "files: counts at eps 0.1"),
}
PROOF = {
    "lipschitz_bound": (lowered("lipschitz_bound"), "bounds: lipschitz_bound is claimed"),
    "feature_bound": (lowered("feature_bound"), "bounds: feature_bound is claimed"),
    "pair_bounds": (lowered("pair_bounds"), "bounds: pair bound of classes 0 and 1"),
    "float64.constant": (errors("float64", "constant"), "bounds: float64.constant"),
    "float64.slope": (errors("float64", "slope"), "bounds: float64.slope"),
    "float32.constant": (errors("float32", "constant"), "bounds: float32.constant"),
    "float32.slope": (errors("float32", "slope"), "bounds: float32.slope"),
    "refused_float32": (both(refused_float32="no"), "files: refused_float32 says why"),
    "operators.name": (operator_row("name", "gemm_9"), "operators: bounds.json has a row 'gemm_9'"),
    "operators.operator": (operator_row("operator", "Relu"), "operators: bounds.json takes gemm_2"),
    "operators.shape": (operator_row("shape", "8"), "operators: gemm_2 has the shape 8"),
    "operators.factor": (operator_row("factor", 0.99), "bounds: factor of gemm_2"),
    "operators.bound": (operator_row("bound", 0.99), "bounds: bound behind gemm_2"),
    "input_size": (proof(input_size=17), "files: input_size"),
    "program_sha256": (both(program_sha256=NOUGHT), "sealed file: program_sha256"),
    "assumptions": (proof(assumptions=["luck"]), "differ in assumptions"),
}
COLUMNS = {
    "index": (column("index", lambda found: found[::-1]), "column index does not rise"),
    "label": (column("label", lambda found: (found + 1) % 3), "data: labels"),
    "prediction": (column("prediction", lambda found: (found + 1) % 3), "predictions: example"),
    "rival": (column("rival", lambda found: (found + 1) % 3), "a rival that does not limit"),
    "margin": (column("margin", largest(1.001)), "another margin"),
    "radius": (column("radius", largest(1 + 1e-6)), "radii: example"),
    "radius_float32": (column("radius_float32", largest(1 + 1e-6)), "has radius_float32"),
}
MODEL = {
    **{
        f"metadata.{key}": (metadata(key), f"sealed file: {key} of its metadata")
        for key in (
            "input_range", "classes", "lipschitz_bound", "job_sha256", "program_sha256", "radius",
        )
    },
    "output.logits": (change_a_weight, "bounds: factor of gemm_2"),
    "output.label": (edit_formula(choose_the_worst_class), "label is not the formula"),
    "output.radius": (edit_formula(ignore_the_domain), "radius is not the formula"),
    "output.radius_float32": (edit_formula(turn_the_norm), "radius_float32 is not the formula"),
    "constant.L": (constant("L", lambda w: 0.9 * w), f"table L {SAFE}"),
    "constant.A": (constant("A", lambda w: (1 - 1e-6) * w), f"table A {SAFE}"),
    "constant.B": (constant("B", lambda w: (1 - 1e-5) * w), f"table B {SAFE}"),
    "constant.C": (constant("C", lambda w: (1 - 1e-6) * w), f"table C {SAFE}"),
    "constant.own": (constant("own", lambda w: w + 1), f"table own {SAFE}"),
    "constant.slack": (constant("slack", lambda w: 0 * w), f"table slack {SAFE}"),
    "constant.g": (constant("g", lambda w: w + 1e-5), f"table g {SAFE}"),
    "constant.darkest": (constant("darkest", lambda w: w - 1), f"table darkest {SAFE}"),
    "constant.brightest": (constant("brightest", lambda w: 2 * w), f"table brightest {SAFE}"),
    "constant.radius_zero": (constant("radius_zero", lambda w: w + 1), f"radius_zero {SAFE}"),
    "constant.radius_largest": (
        constant("radius_largest", lambda w: w + np.inf),
        f"radius_largest {SAFE}",
    ),
    "constant.radius_diameter": (
        constant("radius_diameter", lambda w: 9 * w),
        f"radius_diameter {SAFE}",
    ),
    "constant.radius_float32_zero": (
        constant("radius_float32_zero", lambda w: w + 1),
        f"radius_float32_zero {SAFE}",
    ),
    "constant.radius_float32_largest": (
        constant("radius_float32_largest", lambda w: w + np.inf),
        f"radius_float32_largest {SAFE}",
    ),
    "constant.radius_float32_diameter": (
        constant("radius_float32_diameter", lambda w: 9 * w),
        f"radius_float32_diameter {SAFE}",
    ),
}  # fmt: skip
FORGERIES = {
    f"{document} {claim}": row
    for document, rows in (
        ("certificate.json", CERTIFICATE),
        ("bounds.json", PROOF),
        ("certificates.parquet", COLUMNS),
        ("model.onnx", MODEL),
    )
    for claim, row in rows.items()
}
REMARKS = {"bounds.json operators.method"}
"""How a factor was found: no claim, since an audit finds it in another way."""
