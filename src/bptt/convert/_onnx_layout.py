"""What the ONNX reader and writer share: the layout of the operators RNN, GRU and LSTM."""

# Order of the blocks of gates, bptt's and ONNX's: GRU r,z,n and z,r,h; LSTM i,f,g,o and i,o,f,c; peepholes i,f,o and
# i,o,f.
FROM_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1), "P": (0, 2, 1)}
TO_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "P": (0, 2, 1)}
# The activation of operator RNN for each cell.
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Affine"}
# The operator of each cell.
OPERATORS = {"lstm": "LSTM", "gru": "GRU"} | dict.fromkeys(ACTIVATIONS, "RNN")
# The model's metadata hold the description of the network as JSON under this key, for what ONNX has no place for.
METADATA_KEY = "bptt"
