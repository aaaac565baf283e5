"""The layout of the weights of Keras' recurrent layers.

A layer's weights are a kernel (I,G*H), a recurrent kernel (H,G*H) and, unless use_bias is False, a bias: (G*H,), or
(2,G*H) in a GRU with reset_after. A Bidirectional layer has those of the forward direction, then those of the backward
direction.
"""

# Keras' order of the blocks of gates: LSTM i,f,c,o as in bptt; GRU z,r,h where bptt has r,z,n. The same table serves
# both directions of conversion, since swapping two blocks is its own inverse.
GATE_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)} | dict.fromkeys(("tanh", "relu", "sigmoid", "identity"), (0,))


def gate_order(cell):
    if cell not in GATE_ORDER:
        raise ValueError(f"Keras has no counterpart of cell={cell!r}")
    return GATE_ORDER[cell]
