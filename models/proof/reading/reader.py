"""From the bytes of an ONNX file to a program, or a refusal that names every offending node.

A file is refused where its function is not fixed or not one example's: see `_check_file`.  Only
the nodes that the logits depend on are read, so a label or a radius beside them changes nothing.

A file whose batch has a fixed length is read as the function of one example that it applies to
each: the first axis of every activation is the batch, and a shape that the file states has its
length there.
"""

import math

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError

from models.errors import ModelError, first_line
from models.proof.operators.operator import Operator
from models.proof.patterns.catalogue import RECOGNISERS
from models.proof.patterns.group import find_groups, refuse_alone
from models.proof.program import Program
from models.proof.reading.checks import (
    MOST_CLASSES,
    check_flat,
    check_names,
    check_opsets,
    check_size,
    check_structure,
)
from models.proof.reading.ending import check_ending, without_ending
from models.proof.reading.interface import Input, constants_of, input_of, output_of
from models.proof.reading.merging import merged
from models.proof.reading.node import Activations, Constants
from models.proof.reading.refusals import check_kinds
from models.proof.reading.rules import KNOWN_KINDS, MERGED_KINDS, lower_node

OPSETS = range(13, 24)


def read_program(model: bytes) -> Program:
    """The program behind the logits of an ONNX file.

    Args:
        model: the file's bytes; weights inside it.

    Returns:
        The operators in order.  With several outputs, those behind the one named `logits`; of a
        file that ends in Softmax, LogSoftmax or ArgMax, those behind what it reads.

    Raises:
        ModelError: If the file is damaged, its function is not fixed, or an operator has no rule.
    """
    parsed = _parse(model)
    graph = parsed.graph
    given = input_of(graph)
    output, ending = without_ending(graph, output_of(graph))
    constants = constants_of(graph)
    nodes = _needed_nodes(graph, output, given={given.name, *constants})
    nodes = merged(nodes, constants, output)
    check_kinds(nodes, parsed.functions, known=KNOWN_KINDS | MERGED_KINDS, listed=KNOWN_KINDS)
    check_flat(parsed)
    check_structure(model, shapes=False)
    operators, shapes = _lower(nodes, constants, given)
    if not operators or operators[-1].result != output:
        raise ModelError(f"the output {output!r} does not depend on the input")
    if len(shapes[-1]) != 1 or not 2 <= shapes[-1][0] <= MOST_CLASSES:
        raise ModelError(
            f"the output {output!r} has shape {list(shapes[-1])} for one example; "
            f"accepted is one logit to a class, two classes or more, {MOST_CLASSES} at most"
        )
    check_structure(model, shapes=True)
    kinds = check_ending(ending, shapes[-1])
    program = Program(given.name, given.shape, tuple(operators), tuple(shapes), kinds)
    refuse_alone(program.wiring, find_groups(program.wiring, RECOGNISERS))
    return program


def live_part(model: bytes) -> tuple[onnx.ModelProto, str, list[onnx.NodeProto]]:
    """The file, the name of the tensor that holds its logits, and the nodes behind it, in order.

    Raises:
        ModelError: Where `read_program` does for a file as a whole.
    """
    parsed = _parse(model)
    logits, _ = without_ending(parsed.graph, output_of(parsed.graph))
    stored = (tensor.name for tensor in parsed.graph.initializer)
    given = {input_of(parsed.graph).name, *stored}
    return parsed, logits, _needed_nodes(parsed.graph, logits, given=given)


def _parse(content: bytes) -> onnx.ModelProto:
    """The model, checked for all that would leave its function open."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError("the file is not an ONNX model, or is cut off") from None
    if not model.graph.node:
        raise ModelError("the file holds no ONNX graph with at least one operator")
    check_names(model)
    check_opsets(model, accepted=OPSETS)
    return model


def _needed_nodes(graph: onnx.GraphProto, output: str, *, given: set[str]) -> list[onnx.NodeProto]:
    """Nodes that the output depends on, in the file's order."""
    maker = {name: node for node in graph.node for name in node.output if name}
    made_at = {name: place for place, node in enumerate(graph.node) for name in node.output}
    wanted, pending = set(), [(output, len(graph.node))]
    while pending:
        name, before = pending.pop()
        if name in given or name == "":
            continue
        if name not in maker or made_at[name] >= before:
            raise ModelError(f"tensor {name!r} is read, but no operator before its reader makes it")
        place = made_at[name]
        if place not in wanted:
            wanted.add(place)
            pending += [(operand, place) for operand in maker[name].input]
    return [node for place, node in enumerate(graph.node) if place in wanted]


def _lower(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    given: Input,
) -> tuple[list[Operator], list[tuple[int, ...]]]:
    """Operators and their result shapes, found by following each."""
    entries = math.prod(given.shape)
    known = {given.name: given.shape}
    operators: list[Operator] = []
    shapes: list[tuple[int, ...]] = []
    for node in nodes:
        for operator in _lower_safely(node, constants, known, given.batch):
            try:
                shape = _followed(operator, [known[name] for name in operator.operands])
            except (RuntimeError, IndexError, ValueError) as fault:
                raise ModelError(
                    f"{operator.name} ({operator.kind}): {first_line(fault)}"
                ) from None
            entries += math.prod(shape)
            check_size(entries)
            known[operator.result] = shape
            operators.append(operator)
            shapes.append(shape)
    return operators, shapes


def _followed(operator: Operator, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a result for one example, if need be by a run on a batch of two, unfilled."""
    shape = operator.shape_after(*shapes)
    if shape is None:
        with torch.inference_mode():
            result = operator.run(*(torch.empty(2, *sides, device="meta") for sides in shapes))
        if result.dim() < 1 or len(result) != 2:
            raise ModelError(f"{operator.name} ({operator.kind}) mixes the batch")
        shape = tuple(result.shape[1:])
    if not shape:
        raise ModelError(f"{operator.name} ({operator.kind}) leaves no axis but the batch")
    return shape


def _lower_safely(
    node: onnx.NodeProto, constants: Constants, shapes: Activations, batch: int | None
) -> list[Operator]:
    """Operators of a node; one whose operands or attributes make no sense is refused."""
    try:
        return lower_node(node, constants, shapes, batch=batch)
    except (ArithmeticError, LookupError, TypeError, ValueError) as fault:
        name = node.name or node.output[0]
        raise ModelError(f"{name} ({node.op_type}): {first_line(fault)}") from None
