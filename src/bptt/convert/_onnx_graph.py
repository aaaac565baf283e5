"""The graph of an ONNX model, checked, with the values of all tensors that do not depend on its inputs.

What is proven here, so that readers of the graph need not ask: nodes are operators of ONNX's own domain with the
attributes, inputs and outputs that the operator has; each name has one producer, which stands before its users, so
there are no cycles; there are no subgraphs. Constants are read and computed when they are asked for, within a bound.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, NodeProto, defs, helper
from onnx.reference import ReferenceEvaluator

from ._onnx_tensor import MOST_AXES, TYPES, tensor_array

OLDEST_OPSET = 7  # the first with NumPy's broadcasting
DOMAINS = ("", "ai.onnx")  # two names of ONNX's own
# What constants may be computed by: operators that move values, and arithmetic on sizes.
MOVING = {
    *("Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Shape"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
}
BROADCASTING = {"Add", "Div", "Equal", "Mul", "Sub", "Where"}
# Elements that computed constants may have in all, and how many more for each stored element that was read.
BUDGET, BUDGET_PER_ELEMENT = 2**24, 8
# Sizes for axes that the graph leaves open. What depends on sizes is computed with two sets of them: a value that comes
# out the same, or as expected from both, does not depend on them by chance.
PROBES = (0, 1)


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the graph. `attributes` are {name: value}, text as str, tensors as TensorProto."""

    op: str
    label: str
    index: int  # in the graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object]
    proto: NodeProto

    def input(self, index):
        """The name of an input, "" if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def error(self, why):
        return ValueError(f"{self.label}: {why}")


class Graph:
    """A checked graph.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.
    weights : dict
        Values of inputs, {name: array}.
    folder : str or None
        The folder of the model's external data.

    Raises
    ------
    ValueError
        If the model is not valid, or is beyond what is proven of a graph here.
    """

    def __init__(self, model, weights, folder):
        _check_text(model)
        graph, self.folder = model.graph, folder
        self.opset = _opset(model)
        _refuse_overrides(model)
        self.nodes = [_node(proto, index, self.opset) for index, proto in enumerate(graph.node)]
        self.inputs = _by_name(graph.input, "input")
        self.stored = _by_name(graph.initializer, "initializer")
        unknown = [name for name in weights if name not in self.inputs]
        if unknown:
            raise ValueError(
                f"weights must name inputs of the graph, {', '.join(self.inputs)}, got {', '.join(map(str, unknown))}"
            )
        self.values = {(name, probe): array for name, array in weights.items() for probe in PROBES}
        self.budget = BUDGET + BUDGET_PER_ELEMENT * sum(array.size for array in weights.values())
        self.producer = self._producers()
        self.users = defaultdict(list)  # {name: nodes}, without those that ask for the shape alone
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs if node.op != "Shape" else ())):
                self.users[name].append(node)
        self.outputs = [output.name for output in graph.output]
        missing = [name for name in self.outputs if name not in self.producer]
        if missing:
            raise ValueError(f"the graph's output {missing[0]!r} is no output of a node")
        self.shapes = _input_shapes(self.inputs)  # {name: a shape for each set of sizes} of tensors that vary
        self.varying = {name for name in self.inputs if name not in self.stored and name not in weights}
        self.sized = set()  # names of tensors that depend on sizes of the inputs
        self._mark()

    def _producers(self):
        """{name: the node that makes it, None for inputs and initializers}."""
        producer = dict.fromkeys((*self.inputs, *self.stored))
        for node in self.nodes:
            for name in filter(None, node.inputs):
                if name not in producer:
                    raise node.error(f"its input {name} is no input of the graph and no output of an earlier node")
            for name in filter(None, node.outputs):
                if name in producer:
                    raise node.error(f"its output {name} has that name already elsewhere in the graph")
                producer[name] = node
        return producer

    def _mark(self):
        """Find the tensors that depend on the inputs' values, and those that depend on the inputs' sizes alone."""
        for node in self.nodes:
            outputs = filter(None, node.outputs)
            varying = any(name in self.varying for name in node.inputs)
            if varying and node.op != "Shape":
                self.varying.update(outputs)
            elif varying or any(name in self.sized for name in node.inputs):
                self.sized.update(outputs)

    def derived(self, name):
        """The names of all tensors that depend on the values of this one, itself among them."""
        found = {name}
        for node in self.nodes:
            if node.op != "Shape" and any(name in found for name in node.inputs):
                found.update(filter(None, node.outputs))
        return found

    def value(self, name, probe=0):
        """The array of that name, with one of the sets of sizes; None if it depends on values of the inputs."""
        if name in self.varying:
            return None
        for node in self._missing_nodes(name, probe):
            self._compute(node, probe)
        return self.values[name, probe]

    def _missing_nodes(self, name, probe):
        """The nodes that are still to be computed for a value, in the graph's order; reads the tensors they need."""
        needed, names = {}, [name]
        while names:
            name = names.pop()
            if not name or (name, probe) in self.values:
                continue
            node = self.producer[name]
            if node is None:
                self._read(name)
            elif node.index not in needed:
                needed[node.index] = node
                names += node.inputs if node.op != "Shape" or node.inputs[0] not in self.varying else ()
        return [needed[index] for index in sorted(needed)]

    def _read(self, name):
        array = tensor_array(self.stored[name], self.folder)
        self.budget += BUDGET_PER_ELEMENT * array.size
        self.values |= {(name, probe): array for probe in PROBES}

    def _compute(self, node, probe):
        if node.op not in MOVING | BROADCASTING:
            raise node.error("this operator is not supported for constants and initial states")
        if node.op == "Shape" and node.inputs[0] in self.varying:
            results = [self._shape(node, probe)]
        elif node.op == "Constant":
            results = [_constant(node, self.folder)]
            self.budget += BUDGET_PER_ELEMENT * results[0].size
        else:
            inputs = [self.values[name, probe] if name else None for name in node.inputs]
            _check_attributes(node)
            self._spend(node, inputs)
            results = _evaluate(node, inputs, self.opset, self.folder)
        if len(results) != len(node.outputs):
            raise node.error(f"it must have {len(results)} outputs, got {len(node.outputs)}")
        probes = [probe] if self.sized.intersection(node.outputs) else PROBES
        for name, result in zip(node.outputs, results, strict=True):
            self.values |= {(name, each): result for each in probes}

    def _shape(self, node, probe):
        """The result of a node Shape."""
        if node.inputs[0] not in self.shapes:
            raise node.error(f"the shape of {node.inputs[0]} is not known")
        shape = self.shapes[node.inputs[0]][probe]
        return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))], np.int64)

    def _spend(self, node, inputs):
        """Take a node's results from the budget before they are made."""
        elements = _elements(node, inputs)
        if elements > self.budget:
            raise node.error(f"its result would have {elements} elements, more than constants are computed with")
        self.budget -= elements


def _check_text(message):
    """Refuse text that is not UTF-8: protobuf gives it as bytes."""
    for field in message.DESCRIPTOR.fields:
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue  # may be large
        value = getattr(message, field.name)
        if isinstance(value, (str, bytes, Message)):
            values = [value] if message.HasField(field.name) else []
        else:
            values = value
        for each in values:
            if isinstance(each, bytes):
                raise ValueError(f"{field.full_name} must be UTF-8")
            if isinstance(each, Message):
                _check_text(each)


def _opset(model):
    versions = [entry.version for entry in model.opset_import if entry.domain in DOMAINS]
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        found = ", ".join(map(str, versions)) or "none"
        raise ValueError(f"the opset must be in [{OLDEST_OPSET}, {newest}], got {found}")
    return versions[0]


def _refuse_overrides(model):
    """Refuse what may give a standard operator or a name another meaning."""
    own = [function.name for function in model.functions if function.domain in DOMAINS]
    if own:
        raise ValueError(f"functions of the model must have a domain of their own, {own[0]} has none")
    if model.graph.sparse_initializer:
        raise ValueError("sparse initializers are not supported")


def _by_name(protos, what):
    found = {proto.name: proto for proto in protos}
    if len(found) != len(protos) or "" in found:
        raise ValueError(f"the graph must have each {what} once and with a name")
    return found


def _node(proto, index, opset):
    label = f"node {proto.name or next(filter(None, proto.output), '?')} ({proto.op_type})"
    node = Node(proto.op_type, label, index, tuple(proto.input), tuple(proto.output), {}, proto)
    if proto.domain not in DOMAINS:
        raise node.error(f"operators of domain {proto.domain} are not supported")
    try:
        schema = defs.get_schema(proto.op_type, opset, "")
    except defs.SchemaError:
        raise node.error(f"opset {opset} has no such operator") from None
    _check_ends(node, schema)
    for attribute in proto.attribute:
        if attribute.name in node.attributes:
            raise node.error(f"it has attribute {attribute.name} twice")
        node.attributes[attribute.name] = _attribute(node, schema, attribute)
    return node


def _check_ends(node, schema):
    """Check the numbers of inputs and outputs."""
    needed = [parameter.option != defs.OpSchema.FormalParameterOption.Optional for parameter in schema.inputs]
    needed += needed[-1:] * (len(node.inputs) - len(needed))  # the last one may stand for many
    if not schema.min_input <= len(node.inputs) <= schema.max_input or not all(
        name or not need for name, need in zip(node.inputs, needed, strict=False)
    ):
        raise node.error(f"its inputs must be those of the operator, got {list(node.inputs)}")
    if not max(schema.min_output, 1) <= len(node.outputs) <= schema.max_output or not any(node.outputs):
        raise node.error(f"its outputs must be those of the operator, got {list(node.outputs)}")


def _attribute(node, schema, attribute):
    """An attribute's value: the one place where types of attributes are looked at."""
    if attribute.name not in schema.attributes:
        raise node.error(f"the operator has no attribute {attribute.name[:80]!r}")
    expected = AttributeProto.AttributeType.Name(schema.attributes[attribute.name].type.value)
    if attribute.type not in AttributeProto.AttributeType.values() or attribute.ref_attr_name:
        raise node.error(f"attribute {attribute.name} must have a value")
    found = AttributeProto.AttributeType.Name(attribute.type)
    if found != expected:
        raise node.error(f"attribute {attribute.name} must be {expected}, got {found}")
    if "GRAPH" in found:
        raise node.error("subgraphs are not supported")
    value = helper.get_attribute_value(attribute)
    if found == "STRING":
        return value.decode(errors="replace")
    if found == "STRINGS":
        return [text.decode(errors="replace") for text in value]
    return value


def _input_shapes(inputs):
    """{name: a shape for each set of sizes} of the inputs whose number of axes is known."""
    sizes = {}  # of open axes; equal names stand for equal sizes
    shapes = {}
    for name, info in inputs.items():
        tensor = info.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        axes = []
        for axis, dim in enumerate(tensor.shape.dim):
            if dim.dim_value < 0:
                raise ValueError(f"the graph's input {name} must have positive sizes, got {dim.dim_value}")
            open_size = sizes.setdefault(dim.dim_param or (name, axis), (11 + len(sizes), 23 + 2 * len(sizes)))
            axes.append((dim.dim_value,) * 2 if dim.dim_value else open_size)
        shapes[name] = [tuple(sizes[probe] for sizes in axes) for probe in PROBES]
    return shapes


def _check_attributes(node):
    """Check those attributes that would make a node's results larger than their elements say."""
    if node.op == "Cast" and node.attributes.get("to") not in TYPES:
        raise node.error("to must be a type of real numbers")
    if node.op == "Split" and node.attributes.get("num_outputs", len(node.outputs)) != len(node.outputs):
        raise node.error(f"num_outputs must be {len(node.outputs)}, got {node.attributes['num_outputs']}")


def _elements(node, inputs):
    """How many elements a node's results have at most."""
    shapes = [array.shape for array in inputs if array is not None]
    if node.op in ("ConstantOfShape", "Expand"):
        if inputs[-1].size > MOST_AXES:
            raise node.error(f"its shape must have at most {MOST_AXES} axes, got {inputs[-1].size}")
        shapes[-1] = tuple(max(size, 0) for size in inputs[-1].ravel().tolist())
    if node.op in (*BROADCASTING, "ConstantOfShape", "Expand"):
        aligned = itertools.zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)
        return math.prod(max(sizes) for sizes in aligned)
    if node.op == "Gather":
        data, indices = inputs
        axis = node.attributes.get("axis", 0)
        if not -data.ndim <= axis < data.ndim:
            raise node.error(f"axis must be in [{-data.ndim}, {data.ndim}), got {axis}")
        return indices.size * data.size // max(data.shape[axis], 1)
    return sum(math.prod(shape) for shape in shapes)


def _constant(node, folder):
    """The value of a node Constant."""
    (kind, value), *others = node.attributes.items() or [("", None)]
    if others or kind not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise node.error(f"its value must be a tensor or numbers, got {', '.join(node.attributes) or 'none'}")
    if kind != "value":
        return np.array(value, np.int64 if "int" in kind else np.float32)
    try:
        return tensor_array(value, folder)
    except ValueError as error:
        raise node.error(error) from None


def _evaluate(node, inputs, opset, folder):
    """The results of a node, by the reference implementation."""
    if node.op == "ConstantOfShape":
        return [_filled(node, inputs[0], folder)]
    feeds = {name: array for name, array in zip(node.inputs, inputs, strict=True) if name}
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(node.proto, opsets={"": opset}).run(None, feeds)
    except Exception as error:  # whatever it raises means that the node is not valid
        raise node.error(f"it cannot be computed: {error}") from None
    if not all(isinstance(result, np.ndarray) and result.dtype.kind in "fiub" for result in results):
        raise node.error("its results must be real numbers")
    return results


def _filled(node, shape, folder):
    """The result of a node ConstantOfShape."""
    value = tensor_array(node.attributes["value"], folder) if "value" in node.attributes else np.zeros(1, np.float32)
    if value.size != 1 or shape.ndim != 1 or shape.dtype != np.int64 or (shape < 0).any():
        raise node.error("it must have one value and a shape without negative sizes")
    return np.full(shape, value.reshape(()))
