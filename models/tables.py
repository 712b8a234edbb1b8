"""The tables of a run, a row an example: every percentage is derived from them.

Columns have units where they need one: radii, distances and ε are L2, in input units; margins
and gaps are in logits; classes and indices count from 0.
"""

import pyarrow as pa

CERTIFICATES = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),  # place in the source
        pa.field("label", pa.int32(), nullable=False),
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("rival", pa.int32(), nullable=False),  # class that limits the radius
        pa.field("margin", pa.float64(), nullable=False),  # prediction over the best other class
        pa.field("radius", pa.float64(), nullable=False),  # exact arithmetic
        pa.field("radius_float32", pa.float64(), nullable=True),  # null: not covered
    ]
)
"""One row a test example, in the order of the split."""

ATTACKS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # row in the table of certificates
        pa.field("eps", pa.float64(), nullable=False),
        pa.field("attacks", pa.string(), nullable=False),  # those that it met, in order
        pa.field("left_out", pa.int32(), nullable=False),  # rivals out of reach, not aimed at
        pa.field("correct", pa.bool_(), nullable=False),  # on the clean image
        pa.field("robust", pa.bool_(), nullable=False),  # correct, and no confirmed break
        pa.field("claimed", pa.bool_(), nullable=False),  # the attack said that it broke it
        pa.field("broken_by", pa.string(), nullable=False),  # the attack that did; empty: robust
        pa.field("prediction", pa.int32(), nullable=False),  # at the attacked image
        pa.field("distance", pa.float64(), nullable=False),  # rounded up; 0 without a break
        pa.field("gap", pa.float64(), nullable=False),  # new class over the certified one
        pa.field("attacked", pa.binary(), nullable=True),  # float32 image of a confirmed break
    ]
)
"""One row an attacked example and ε, ε rising, examples in the order of the split."""

PERTURBATIONS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # row in the table of certificates
        pa.field("label", pa.int32(), nullable=False),
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("radius", pa.float64(), nullable=False),
        pa.field("radius_float32", pa.float64(), nullable=True),
        pa.field("distance", pa.float64(), nullable=True),  # rounded up; null: nothing was found
        pa.field("found", pa.int32(), nullable=True),  # class there, another than the prediction
        pa.field("found_by", pa.string(), nullable=False),  # start and method; empty: nothing
        pa.field("passes", pa.int32(), nullable=False),  # through the program, at most
        pa.field("undecided", pa.bool_(), nullable=False),  # inside the radius, within rounding
        pa.field("distance_float32", pa.float64(), nullable=True),  # in ONNX Runtime, same way
        pa.field("found_float32", pa.int32(), nullable=True),  # class there, also where it ties
        pa.field("image", pa.binary(), nullable=True),  # float32, at `distance`
        pa.field("image_float32", pa.binary(), nullable=True),  # if inside radius_float32
    ]
)
"""One row an attacked example: the smallest change found to another class than the predicted."""

STRETCHES = pa.schema(
    [
        pa.field("one", pa.int32(), nullable=False),
        pa.field("other", pa.int32(), nullable=False),
        pa.field("bound", pa.float64(), nullable=False),  # proven, in logits per unit of input
        pa.field("seen", pa.float64(), nullable=False),  # by some pair of inputs, rounded down
        pa.field("inputs", pa.list_(pa.float64()), nullable=True),  # of the steepest pair alone
    ]
)
"""One row a pair of classes: how far their gap is proven, and was seen, to move."""

ANSWERS = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),  # place in the data
        pa.field("file", pa.string(), nullable=False),  # relative to the data
        pa.field("row", pa.int64(), nullable=False),  # in that file; 0 of an image file
        pa.field("label", pa.int32(), nullable=True),  # null: the data has no labels
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),  # prediction over the best other class
        pa.field("radius_float32", pa.float32(), nullable=False),  # proven for every image
    ]
)
"""One row an image of a batch evaluation, in the order of the data: what a float32 runtime says."""
