"""The graph of an ONNX model, with the values of all tensors that do not depend on its inputs."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


class Graph:
    """Nodes of a model's graph, and the values of tensors that do not depend on its inputs."""

    def __init__(self, model, weights):
        self.model, self.nodes = model, list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.inputs = [i.name for i in model.graph.input]
        self.outputs = {o.name for o in model.graph.output}
        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        unknown = [name for name in weights if name not in self.inputs]
        if unknown:
            raise ValueError(
                f"weights must name inputs of the graph, {', '.join(self.inputs)}, got {', '.join(unknown)}"
            )
        self.values |= {name: np.asarray(array) for name, array in weights.items()}
        self.used = set()  # ids of the nodes that computed a value

    def value(self, name):
        """The array of that name; None if it depends on an input of the graph."""
        if name not in self.values:
            nodes = self.ancestors(name)
            if nodes is None:
                return None
            self.used |= {id(node) for node in nodes}
            self.values[name] = self.evaluated(nodes, name)
        return self.values[name]

    def ancestors(self, name):
        """The nodes that compute a tensor; None if it depends on an input's values. An input's shape does not count."""
        needed, names = set(), [name]
        while names:
            name = names.pop()
            if name in self.values or not name:
                continue
            if name not in self.producer:
                return None
            node = self.producer[name]
            if id(node) not in needed:
                needed.add(id(node))
                names += [] if node.op_type == "Shape" else node.input
        return [node for node in self.nodes if id(node) in needed]

    def evaluated(self, nodes, name):
        """A tensor computed from zero inputs, with size 1 for every axis whose size the graph leaves open."""
        given = [i for i in self.model.graph.input if i.name not in self.values]
        feeds = {i.name: _zeros(i) for i in given if any(i.name in node.input for node in nodes)}
        made = {out for node in nodes for out in node.output}
        needed = {name for node in nodes for name in node.input if name and name not in made and name not in feeds}
        graph = helper.make_graph(
            nodes,
            "constant",
            [i for i in given if i.name in feeds],
            [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)],
            initializer=[numpy_helper.from_array(self.values[name], name) for name in needed],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        return ReferenceEvaluator(model).run([name], feeds)[0]


def _zeros(value_info):
    tensor = value_info.type.tensor_type
    return np.zeros([dim.dim_value or 1 for dim in tensor.shape.dim], helper.tensor_dtype_to_np_dtype(tensor.elem_type))
