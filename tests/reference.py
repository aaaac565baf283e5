"""A naive float64 oracle: the equations written down step by step, all rows of the batch that have the step at once.

`dot` is every sum of products there is, so that a test may hand in one that rounds as float32 would. A state is
(parts,L*D,B,H): h, and for an LSTM c behind it.
"""

from types import SimpleNamespace

import numpy as np


def logistic(z):
    return 1 / (1 + np.exp(-z))


ACTIVATION = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": logistic,
    "identity": lambda z: z,
}
ACTIVATION_GRAD = {  # f'(z) in terms of h = f(z)
    "tanh": lambda h: 1 - h**2,
    "relu": lambda h: (h > 0).astype(float),
    "sigmoid": lambda h: h * (1 - h),
    "identity": lambda h: np.ones_like(h),
}


# ---- cells: step(w, x, h, c) -> (h, c, kept) for some rows, x (n,I), h and c (n,H); and back(w, g, x, h, c, kept, dh,
# dc), which adds to the gradients g and returns those by x, h and c. w and g hold ih, hh, b_ih, b_hh, peephole and
# leak; w has dot too.


class Vanilla:
    def __init__(self, name, leak):
        self.f, self.f_grad, self.leak = ACTIVATION[name], ACTIVATION_GRAD[name], leak

    def leak_of(self, w):
        return self.leak if w.leak is None else logistic(w.leak)

    def step(self, w, x, h, c):
        f, a = self.f(w.dot(x, w.ih.T) + w.b_ih + w.dot(h, w.hh.T) + w.b_hh), self.leak_of(w)
        return (1 - a) * h + a * f, c, f

    def back(self, w, g, x, h, c, f, dh, dc):
        a = self.leak_of(w)
        dz = a * self.f_grad(f) * dh
        add(g, dz, x, dz, h)
        if g.leak is not None:
            g.leak += (dh * (f - h) * a * (1 - a)).sum(axis=0)
        return w.dot(dz, w.ih), w.dot(dz, w.hh) + (1 - a) * dh, dc


class LSTM:
    def step(self, w, x, h, c):
        zi, zf, zg, zo = np.split(w.dot(x, w.ih.T) + w.b_ih + w.dot(h, w.hh.T) + w.b_hh, 4, axis=1)
        i = logistic(zi + w.peephole[0] * c)
        f = logistic(zf + w.peephole[1] * c)
        g = np.tanh(zg)
        new = f * c + i * g
        o = logistic(zo + w.peephole[2] * new)
        return o * np.tanh(new), new, (i, f, g, o, new)

    def back(self, w, grads, x, h, c, kept, dh, dc):
        i, f, g, o, new = kept
        dzo = dh * np.tanh(new) * o * (1 - o)
        dc = dc + dh * o * (1 - np.tanh(new) ** 2) + dzo * w.peephole[2]
        dzi = dc * g * i * (1 - i)
        dzf = dc * c * f * (1 - f)
        dz = np.concatenate([dzi, dzf, dc * i * (1 - g**2), dzo], axis=1)
        add(grads, dz, x, dz, h)
        grads.peephole += np.stack([(dzi * c).sum(axis=0), (dzf * c).sum(axis=0), (dzo * new).sum(axis=0)])
        return w.dot(dz, w.ih), w.dot(dz, w.hh), dc * f + dzi * w.peephole[0] + dzf * w.peephole[1]


class GRU:
    """The reset gate acts after the product with W_hn."""

    def step(self, w, x, h, c):
        xr, xz, xn = np.split(w.dot(x, w.ih.T) + w.b_ih, 3, axis=1)
        hr, hz, hn = np.split(w.dot(h, w.hh.T) + w.b_hh, 3, axis=1)
        r, z = logistic(xr + hr), logistic(xz + hz)
        n = np.tanh(xn + r * hn)
        return (1 - z) * n + z * h, c, (r, z, n, hn)

    def back(self, w, g, x, h, c, kept, dh, dc):
        r, z, n, hn = kept
        dzn = dh * (1 - z) * (1 - n**2)
        dzz = dh * (h - n) * z * (1 - z)
        dzr = dzn * hn * r * (1 - r)
        dz_ih = np.concatenate([dzr, dzz, dzn], axis=1)
        dz_hh = np.concatenate([dzr, dzz, dzn * r], axis=1)
        add(g, dz_ih, x, dz_hh, h)
        return w.dot(dz_ih, w.ih), w.dot(dz_hh, w.hh) + dh * z, dc


class GRUBefore:
    """The reset gate acts before the product with W_hn."""

    def step(self, w, x, h, c):
        H = h.shape[1]
        xr, xz, xn = np.split(w.dot(x, w.ih.T) + w.b_ih + w.b_hh, 3, axis=1)
        r = logistic(xr + w.dot(h, w.hh[:H].T))
        z = logistic(xz + w.dot(h, w.hh[H : 2 * H].T))
        n = np.tanh(xn + w.dot(r * h, w.hh[2 * H :].T))
        return (1 - z) * n + z * h, c, (r, z, n)

    def back(self, w, g, x, h, c, kept, dh, dc):
        r, z, n = kept
        H = h.shape[1]
        dzn = dh * (1 - z) * (1 - n**2)
        dzz = dh * (h - n) * z * (1 - z)
        d_reset = w.dot(dzn, w.hh[2 * H :])  # by r*h
        dzr = d_reset * h * r * (1 - r)
        dz = np.concatenate([dzr, dzz, dzn], axis=1)
        add(g, dz, x, dz, h)
        g.hh[2 * H :] += dzn.T @ (r * h - h)  # W_hn saw r*h, not h
        return w.dot(dz, w.ih), w.dot(dz[:, : 2 * H], w.hh[: 2 * H]) + d_reset * r + dh * z, dc


def add(g, dz_ih, x, dz_hh, h):
    g.ih += dz_ih.T @ x
    g.hh += dz_hh.T @ h
    g.b_ih += dz_ih.sum(axis=0)
    g.b_hh += dz_hh.sum(axis=0)


def clip_rows(dh, norm_limit, value_limit):
    """Each row to a norm, then each entry to a value."""
    if norm_limit is not None:
        norms = np.linalg.norm(dh, axis=1, keepdims=True)
        dh = np.where(norms > norm_limit, dh * (norm_limit / np.maximum(norms, 1e-300)), dh)
    return dh if value_limit is None else np.clip(dh, -value_limit, value_limit)


class Oracle:
    """The network that rnn is, with its parameters as they are now. Nothing is dropped."""

    def __init__(self, rnn, dot=np.dot):
        self.p = {name: view.astype(np.float64) for name, view in rnn.param_views().items()}
        self.dot, self.H, self.L, self.D = dot, rnn.hidden_size, rnn.num_layers, 2 if rnn.bidirectional else 1
        self.parts = 2 if rnn.cell == "lstm" else 1
        gru = GRU if rnn.reset_after else GRUBefore
        gated = {"lstm": LSTM, "gru": gru}
        self.cell = gated[rnn.cell]() if rnn.cell in gated else Vanilla(rnn.cell, rnn.leak)
        self.one_hot, self.padding_idx = rnn.one_hot, rnn.padding_idx

    def vectors(self, x):
        """What stands for integers: unit vectors, or rows of the table."""
        if self.one_hot:
            return np.eye(self.p["weight_ih_l0"].shape[1])[x]
        return self.p["embedding"][x] if "embedding" in self.p else x

    def layer_dir(self, tensors, index):
        """The tensors of a layer in a direction, missing ones as zeros."""
        suffix = f"_l{index // self.D}" + ("_reverse" if index % self.D else "")
        rows = len(tensors[f"weight_ih{suffix}"])
        return SimpleNamespace(
            dot=self.dot,
            ih=tensors[f"weight_ih{suffix}"],
            hh=tensors[f"weight_hh{suffix}"],
            b_ih=tensors.get(f"bias_ih{suffix}", np.zeros(rows)),
            b_hh=tensors.get(f"bias_hh{suffix}", np.zeros(rows)),
            peephole=tensors.get(f"weight_peephole{suffix}", np.zeros((3, self.H))),
            leak=tensors.get(f"leak{suffix}"),
        )

    def order(self, direction):
        """The steps in the order in which the direction takes them."""
        steps = range(len(self.reset))
        return steps[::-1] if direction else steps

    def rows_with(self, t):
        """The rows that have step t."""
        return np.flatnonzero(self.lengths > t)

    def enters_zero(self, direction, t, rows):
        """A sequence begins at t; seen from the other side, it ends where another begins, at t+1."""
        if not direction:
            return self.reset[t, rows]
        if t + 1 == len(self.reset):
            return np.zeros(len(rows), bool)
        return (t + 1 < self.lengths[rows]) & self.reset[t + 1, rows]

    def forward(self, x, state=None, lengths=None, reset=None):
        """(y, final state); keeps what backward needs. x may be integers (T,B)."""
        self.tokens, x = x, self.vectors(x)
        T, B, _ = x.shape
        self.lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
        self.reset = np.zeros((T, B), bool) if reset is None else reset
        self.learns = state is None and "state_h0" in self.p
        if state is None:
            learned = [self.p.get(name, np.zeros((self.L * self.D, self.H))) for name in ("state_h0", "state_c0")]
            state = np.repeat(np.stack(learned[: self.parts])[:, :, None], B, axis=2)
        final = state.copy()
        self.kept = {}  # (layer_dir, t): inputs, previous state and what the cell keeps, of the rows with step t
        self.inputs = [x]
        for layer in range(self.L):
            outputs = np.zeros((T, B, self.D * self.H))
            for direction in range(self.D):
                index = layer * self.D + direction
                columns = slice(direction * self.H, (direction + 1) * self.H)  # the direction's part of the outputs
                w = self.layer_dir(self.p, index)
                h, c = final[0, index], final[-1, index]  # of all rows; they end as the final state
                for t in self.order(direction):
                    rows = self.rows_with(t)
                    zero = self.enters_zero(direction, t, rows)[:, None]
                    before = self.inputs[layer][t, rows], np.where(zero, 0, h[rows]), np.where(zero, 0, c[rows])
                    h_new, c_new, kept = self.cell.step(w, *before)
                    self.kept[index, t] = (*before, kept)
                    c[rows] = c_new
                    h[rows] = h_new  # behind c: without a c both are the same array
                    outputs[t, rows, columns] = h_new
            self.inputs.append(outputs)
        if "weight_ho" not in self.p:
            return outputs.copy(), final
        y = np.zeros((T, B, len(self.p["weight_ho"])))
        for t in range(T):
            rows = self.rows_with(t)
            y[t, rows] = self.dot(outputs[t, rows], self.p["weight_ho"].T) + self.p.get("bias_o", 0)
        return y, final

    def backward(self, dy, dstate=None, carry=None, step_clip_norm=None, step_clip_value=None):
        """Gradients by name, and "x", "state" (as states are) and "norms": ||dL/dh_t|| before any clip, (L*D,T)."""
        g = {name: np.zeros_like(value) for name, value in self.p.items()}
        T, B, _ = dy.shape
        carry = np.ones((T, B)) if carry is None else np.broadcast_to(carry.reshape(T, -1), (T, B))
        out = np.zeros((T, B, self.D * self.H))  # the gradient by the last layer's outputs
        for t in range(T):
            rows = self.rows_with(t)
            if "weight_ho" not in g:
                out[t, rows] = dy[t, rows]
                continue
            out[t, rows] = self.dot(dy[t, rows], self.p["weight_ho"])
            g["weight_ho"] += dy[t, rows].T @ self.inputs[-1][t, rows]
            if "bias_o" in g:
                g["bias_o"] += dy[t, rows].sum(axis=0)
        dstate0 = np.zeros((self.parts, self.L * self.D, B, self.H))  # the gradient by the initial state
        if dstate is not None:
            dstate0[...] = dstate
        squares = np.zeros((self.L * self.D, T))
        for layer in reversed(range(self.L)):
            below = np.zeros_like(self.inputs[layer])
            for direction in range(self.D):
                index = layer * self.D + direction
                columns = slice(direction * self.H, (direction + 1) * self.H)
                w, gw = self.layer_dir(self.p, index), self.layer_dir(g, index)
                dh_all, dc_all = dstate0[0, index], dstate0[-1, index]  # of all rows, back to the initial state
                for t in reversed(self.order(direction)):
                    rows = self.rows_with(t)
                    dh, dc = dh_all[rows], dc_all[rows]
                    m = self.link(direction, t, rows, carry)[:, None]
                    dh, dc = dh * m, dc * m
                    dh = dh + out[t, rows, columns]
                    squares[index, t] = np.sum(dh**2)
                    dh = clip_rows(dh, step_clip_norm, step_clip_value)
                    dx, dh, dc = self.cell.back(w, gw, *self.kept[index, t], dh, dc)
                    below[t, rows] += dx
                    zero = self.enters_zero(direction, t, rows)[:, None]
                    dc_all[rows] = np.where(zero, 0, dc)
                    dh_all[rows] = np.where(zero, 0, dh)  # behind dc: without a c both are the same array
            out = below
        if self.learns:
            for name, part in zip(("state_h0", "state_c0"), dstate0, strict=False):
                g[name] += part.sum(axis=1)
        if "embedding" in g:
            np.add.at(g["embedding"], self.tokens, out)
            if self.padding_idx is not None:
                g["embedding"][self.padding_idx] = 0
        return {**g, "x": out, "state": dstate0, "norms": np.sqrt(squares)}

    def link(self, direction, t, rows, carry):
        """The carry between step t and the one that the direction takes next; 1 where t is a row's last."""
        if direction:
            return carry[t - 1, rows] if t else np.ones(len(rows))
        return np.where(t + 1 < self.lengths[rows], carry[t, rows], 1)
