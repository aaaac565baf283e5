"""What the ONNX reader and writer share: the layout of the operators RNN, GRU and LSTM."""

# Order of the blocks of gates, bptt's and ONNX's: GRU r,z,n and z,r,h; LSTM i,f,g,o and i,o,f,c; peepholes i,f,o and
# i,o,f.
FROM_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1), "P": (0, 2, 1)}
TO_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "P": (0, 2, 1)}
# The activation of operator RNN for each cell.
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Affine"}
# Options of a network that ONNX has no place for: the model's metadata hold them as JSON under the key "bptt".
METADATA_KEY = "bptt"
METADATA_OPTIONS = ("dropout", "recurrent_dropout", "learn_state")
