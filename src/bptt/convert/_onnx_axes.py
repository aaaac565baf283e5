"""How a tensor of an ONNX graph that holds the sequence lies in memory."""

import itertools
import math

FEATURES = (("f",), ("d", "f"))  # an axis that holds all features of a step, and nothing else


class Axes:
    """The axes of a tensor that holds the sequence.

    Each axis is a tuple of parts, several where axes were merged: "0" and "1" are the first two axes of the graph's
    input, "d" is the directions, "f" the features of a direction or of the readout. `sizes` has for each part its
    sizes, one for each set of sizes of the graph.
    """

    def __init__(self, axes, sizes):
        self.axes, self.sizes = axes, sizes

    def shape(self, probe):
        return tuple(math.prod(self.sizes[part][probe] for part in axis) for axis in self.axes)

    def shapes(self):
        return [self.shape(probe) for probe in range(len(self.sizes["0"]))]

    def is_sequence(self):
        """Whether these are two axes and the features."""
        return len(self.axes) == 3 and len(self.axes[0]) == len(self.axes[1]) == 1 and self.axes[2] in FEATURES

    def is_rows(self):
        """Whether all before the last axis are steps and rows, and the last one the features."""
        return self.axes[-1] in FEATURES and ("d",) not in self.axes

    def transposed(self, perm):
        """With the axes in another order; None if `perm` is not one."""
        if sorted(perm) != list(range(len(self.axes))):
            return None
        return Axes([self.axes[axis] for axis in perm], self.sizes)

    def squeezed(self, axis):
        """Without an axis, which is that of a single direction; otherwise None."""
        if not -len(self.axes) <= axis < len(self.axes) or self.axes[axis] != ("d",) or set(self.sizes["d"]) != {1}:
            return None
        return Axes([parts for parts in self.axes if parts != ("d",)], self.sizes)

    def reshaped(self, shapes):
        """As a reshape to these shapes, one for each set of sizes, leaves them; None if parts would come apart.

        Reshaping keeps the order of elements in memory, and with it the order of the parts: it can only draw the
        borders of axes elsewhere between the parts.
        """
        parts = [part for axis in self.axes for part in axis]
        orders = [parts]
        if set(self.sizes.get("d", ())) == {1}:
            orders.insert(0, [part for part in parts if part != "d"])
        for order in orders:
            for cuts in itertools.combinations(range(1, len(order)), len(shapes[0]) - 1):
                borders = itertools.pairwise((0, *cuts, len(order)))
                found = Axes([tuple(order[begin:end]) for begin, end in borders], self.sizes)
                if found.shapes() == shapes and not any("f" in axis and axis not in FEATURES for axis in found.axes):
                    return found
        return None


def reshape_target(shape, target, allowzero):
    """The shape that Reshape makes of `shape`; None if it makes none."""
    if not allowzero:
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
            return None
        target = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    if min(target, default=0) < -1 or target.count(-1) > 1:
        return None
    known = math.prod(size for size in target if size != -1)
    if -1 in target and known:
        target = [math.prod(shape) // known if size == -1 else size for size in target]
    return tuple(target) if math.prod(target) == math.prod(shape) else None
