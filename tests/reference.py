"""A naive float64 oracle: the equations written down step by step, one row of the batch after another.

`dot` is every sum of products there is, so that a test may hand in one that rounds as float32 would.
"""

import numpy as np

ACTIVATION = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}
SLOPE = {  # f'(z) in terms of h = f(z)
    "tanh": lambda h: 1 - h**2,
    "relu": lambda h: (h > 0).astype(float),
    "sigmoid": lambda h: h * (1 - h),
    "identity": lambda h: np.ones_like(h),
}


def parameters(rnn):
    """float64 copies by name, missing biases as zeros."""
    p = {name: view.astype(np.float64) for name, view in rnn.param_views().items()}
    H, O = rnn.hidden_size, rnn.output_size or 0
    for name, size in (("bias_ih_l0", H), ("bias_hh_l0", H), ("bias_o", O)):
        p.setdefault(name, np.zeros(size))
    return p


def forward(p, cell, x, h0, reset=None, dot=np.dot):
    """(y, h): h[0] is h0, h[t+1] the state after step t; y is h[1:] without a readout."""
    T, B, _ = x.shape
    h = np.zeros((T + 1, *h0.shape))
    h[0] = h0
    for t in range(T):
        for b in range(B):
            before = np.zeros_like(h0[b]) if reset is not None and reset[t, b] else h[t, b]
            z = dot(p["weight_ih_l0"], x[t, b]) + p["bias_ih_l0"] + dot(p["weight_hh_l0"], before) + p["bias_hh_l0"]
            h[t + 1, b] = ACTIVATION[cell](z)
    if "weight_ho" not in p:
        return h[1:].copy(), h
    y = np.array([[dot(p["weight_ho"], h[t + 1, b]) + p["bias_o"] for b in range(B)] for t in range(T)])
    return y, h


def clip_row(dh, norm_limit, value_limit):
    if norm_limit is not None and np.linalg.norm(dh) > norm_limit:
        dh = dh * (norm_limit / np.linalg.norm(dh))
    return dh if value_limit is None else np.clip(dh, -value_limit, value_limit)


def backward(p, cell, x, h, dy, dstate=None, reset=None, carry=None, clip_norm=None, clip_value=None, dot=np.dot):
    """Gradients by name, and "x", "state" and "norms" (||dh_t|| before any clip)."""
    T, B, _ = x.shape
    g = {name: np.zeros_like(value) for name, value in p.items()}
    g["x"], g["norms"] = np.zeros_like(x), np.zeros(T)
    flow = np.zeros_like(h[0]) if dstate is None else dstate.copy()  # what arrives from step t+1
    for t in reversed(range(T)):
        leaves = np.zeros_like(flow)
        total = np.zeros_like(flow)
        for b in range(B):
            dh = flow[b]
            if t < T - 1 and carry is not None:
                dh = dh * (carry[t] if carry.ndim == 1 else carry[t, b])
            if "weight_ho" in p:
                dh = dh + dot(p["weight_ho"].T, dy[t, b])
                g["weight_ho"] += np.outer(dy[t, b], h[t + 1, b])
                g["bias_o"] += dy[t, b]
            else:
                dh = dh + dy[t, b]
            total[b] = dh
            dz = SLOPE[cell](h[t + 1, b]) * clip_row(dh, clip_norm, clip_value)
            cut = reset is not None and reset[t, b]
            g["weight_ih_l0"] += np.outer(dz, x[t, b])
            g["bias_ih_l0"] += dz
            g["bias_hh_l0"] += dz
            g["x"][t, b] = dot(p["weight_ih_l0"].T, dz)
            if not cut:
                g["weight_hh_l0"] += np.outer(dz, h[t, b])
                leaves[b] = dot(p["weight_hh_l0"].T, dz)
        g["norms"][t] = np.linalg.norm(total)
        flow = leaves
    g["state"] = flow
    return g
