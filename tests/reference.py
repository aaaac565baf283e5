"""A naive float64 oracle: the equations written down step by step, one row of the batch after another.

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
SLOPE = {  # f'(z) in terms of h = f(z)
    "tanh": lambda h: 1 - h**2,
    "relu": lambda h: (h > 0).astype(float),
    "sigmoid": lambda h: h * (1 - h),
    "identity": lambda h: np.ones_like(h),
}


# ---- cells: step(w, x, h, c) -> (h, c, kept) for one row, and back(w, g, x, h, c, kept, dh, dc), which adds to the
# gradients g and returns those by x, h and c. w and g hold ih, hh, b_ih, b_hh and peephole, and w also dot.


class Vanilla:
    def __init__(self, name):
        self.f, self.slope = ACTIVATION[name], SLOPE[name]

    def step(self, w, x, h, c):
        new = self.f(w.dot(w.ih, x) + w.b_ih + w.dot(w.hh, h) + w.b_hh)
        return new, c, new

    def back(self, w, g, x, h, c, new, dh, dc):
        dz = self.slope(new) * dh
        add(g, dz, x, dz, h)
        return w.dot(w.ih.T, dz), w.dot(w.hh.T, dz), dc


class LSTM:
    def step(self, w, x, h, c):
        zi, zf, zg, zo = np.split(w.dot(w.ih, x) + w.b_ih + w.dot(w.hh, h) + w.b_hh, 4)
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
        dz = np.concatenate([dzi, dzf, dc * i * (1 - g**2), dzo])
        add(grads, dz, x, dz, h)
        grads.peephole += np.stack([dzi * c, dzf * c, dzo * new])
        return w.dot(w.ih.T, dz), w.dot(w.hh.T, dz), dc * f + dzi * w.peephole[0] + dzf * w.peephole[1]


class GRU:
    """The reset gate acts after the product with W_hn."""

    def step(self, w, x, h, c):
        xr, xz, xn = np.split(w.dot(w.ih, x) + w.b_ih, 3)
        hr, hz, hn = np.split(w.dot(w.hh, h) + w.b_hh, 3)
        r, z = logistic(xr + hr), logistic(xz + hz)
        n = np.tanh(xn + r * hn)
        return (1 - z) * n + z * h, c, (r, z, n, hn)

    def back(self, w, g, x, h, c, kept, dh, dc):
        r, z, n, hn = kept
        dzn = dh * (1 - z) * (1 - n**2)
        dzz = dh * (h - n) * z * (1 - z)
        dzr = dzn * hn * r * (1 - r)
        dz_ih, dz_hh = np.concatenate([dzr, dzz, dzn]), np.concatenate([dzr, dzz, dzn * r])
        add(g, dz_ih, x, dz_hh, h)
        return w.dot(w.ih.T, dz_ih), w.dot(w.hh.T, dz_hh) + dh * z, dc


class GRUBefore:
    """The reset gate acts before the product with W_hn."""

    def step(self, w, x, h, c):
        H = len(h)
        r, z = np.split(logistic((w.dot(w.ih, x) + w.b_ih + w.b_hh)[: 2 * H] + w.dot(w.hh[: 2 * H], h)), 2)
        n = np.tanh((w.dot(w.ih, x) + w.b_ih + w.b_hh)[2 * H :] + w.dot(w.hh[2 * H :], r * h))
        return (1 - z) * n + z * h, c, (r, z, n)

    def back(self, w, g, x, h, c, kept, dh, dc):
        r, z, n = kept
        H = len(h)
        dzn = dh * (1 - z) * (1 - n**2)
        dzz = dh * (h - n) * z * (1 - z)
        d_reset = w.dot(w.hh[2 * H :].T, dzn)  # by r*h
        dzr = d_reset * h * r * (1 - r)
        dz = np.concatenate([dzr, dzz, dzn])
        add(g, dz, x, dz, h)
        g.hh[2 * H :] += np.outer(dzn, r * h - h)  # W_hn saw r*h, not h
        return w.dot(w.ih.T, dz), w.dot(w.hh[: 2 * H].T, dz[: 2 * H]) + d_reset * r + dh * z, dc


def add(g, dz_ih, x, dz_hh, h):
    g.ih += np.outer(dz_ih, x)
    g.hh += np.outer(dz_hh, h)
    g.b_ih += dz_ih
    g.b_hh += dz_hh


def clip_row(dh, norm_limit, value_limit):
    if norm_limit is not None and np.linalg.norm(dh) > norm_limit:
        dh = dh * (norm_limit / np.linalg.norm(dh))
    return dh if value_limit is None else np.clip(dh, -value_limit, value_limit)


class Oracle:
    """The network that rnn is, with its parameters as they are now. Nothing is dropped."""

    def __init__(self, rnn, dot=np.dot):
        self.p = {name: view.astype(np.float64) for name, view in rnn.param_views().items()}
        self.dot, self.H, self.L, self.D = dot, rnn.hidden_size, rnn.num_layers, 2 if rnn.bidirectional else 1
        self.parts = 2 if rnn.cell == "lstm" else 1
        if rnn.cell == "gru":
            self.cell = GRU() if rnn.reset_after else GRUBefore()
        else:
            self.cell = LSTM() if rnn.cell == "lstm" else Vanilla(rnn.cell)

    def unit(self, tensors, unit):
        """The tensors of a layer in a direction, missing ones as zeros."""
        suffix = f"_l{unit // self.D}" + ("_reverse" if unit % self.D else "")
        rows = len(tensors[f"weight_ih{suffix}"])
        return SimpleNamespace(
            dot=self.dot,
            ih=tensors[f"weight_ih{suffix}"],
            hh=tensors[f"weight_hh{suffix}"],
            b_ih=tensors.get(f"bias_ih{suffix}", np.zeros(rows)),
            b_hh=tensors.get(f"bias_hh{suffix}", np.zeros(rows)),
            peephole=tensors.get(f"weight_peephole{suffix}", np.zeros((3, self.H))),
        )

    def order(self, unit, row):
        """The steps of a row in the order in which the direction takes them."""
        steps = range(self.lengths[row])
        return steps[::-1] if unit % self.D else steps

    def enters_zero(self, unit, t, row):
        """A sequence begins at t; seen from the other side, it ends where another begins, at t+1."""
        if unit % self.D:
            return t + 1 < self.lengths[row] and self.reset[t + 1, row]
        return self.reset[t, row]

    def forward(self, x, state=None, lengths=None, reset=None):
        """(y, final state); keeps what backward needs."""
        T, B, _ = x.shape
        self.lengths = [T] * B if lengths is None else lengths
        self.reset = np.zeros((T, B), bool) if reset is None else reset
        self.learns = state is None and "state_h0" in self.p
        if state is None:
            learned = [self.p.get(name, np.zeros((self.L * self.D, self.H))) for name in ("state_h0", "state_c0")]
            state = np.repeat(np.stack(learned[: self.parts])[:, :, None], B, axis=2)
        final = np.zeros_like(state)
        self.kept = {}  # (unit, t, row): the inputs, the entering state, and what the cell keeps
        self.inputs = [x]
        for layer in range(self.L):
            outputs = np.zeros((T, B, self.D * self.H))
            for direction in range(self.D):
                unit = layer * self.D + direction
                w = self.unit(self.p, unit)
                for row in range(B):
                    h, c = state[0, unit, row], state[-1, unit, row]
                    for t in self.order(unit, row):
                        if self.enters_zero(unit, t, row):
                            h, c = np.zeros(self.H), np.zeros(self.H)
                        before = self.inputs[layer][t, row], h, c
                        h, c, kept = self.cell.step(w, *before)
                        self.kept[unit, t, row] = (*before, kept)
                        outputs[t, row, direction * self.H :][: self.H] = h
                    final[0, unit, row] = h
                    if self.parts == 2:
                        final[1, unit, row] = c
            self.inputs.append(outputs)
        if "weight_ho" not in self.p:
            return outputs.copy(), final
        y = np.zeros((T, B, len(self.p["weight_ho"])))
        for row in range(B):
            for t in range(self.lengths[row]):
                y[t, row] = self.dot(self.p["weight_ho"], outputs[t, row]) + self.p.get("bias_o", 0)
        return y, final

    def backward(self, dy, dstate=None, carry=None, step_clip_norm=None, step_clip_value=None):
        """Gradients by name, and "x", "state" (as states are) and "norms": ||dL/dh_t|| before any clip, (L*D,T)."""
        g = {name: np.zeros_like(value) for name, value in self.p.items()}
        T, B, _ = dy.shape
        carry = np.ones((T, B)) if carry is None else np.broadcast_to(carry.reshape(T, -1), (T, B))
        out = np.zeros((T, B, self.D * self.H))  # the gradient by the last layer's outputs
        for row in range(B):
            for t in range(self.lengths[row]):
                if "weight_ho" not in g:
                    out[t, row] = dy[t, row]
                    continue
                out[t, row] = self.dot(self.p["weight_ho"].T, dy[t, row])
                g["weight_ho"] += np.outer(dy[t, row], self.inputs[-1][t, row])
                if "bias_o" in g:
                    g["bias_o"] += dy[t, row]
        first = np.zeros((self.parts, self.L * self.D, B, self.H))  # the gradient by the entering state
        squares = np.zeros((self.L * self.D, T))
        for layer in reversed(range(self.L)):
            below = np.zeros_like(self.inputs[layer])
            for direction in range(self.D):
                unit = layer * self.D + direction
                w, gw = self.unit(self.p, unit), self.unit(g, unit)
                for row in range(B):
                    dh = dc = np.zeros(self.H)
                    if dstate is not None:
                        dh, dc = dstate[0, unit, row], dstate[-1, unit, row]
                    after = None
                    for t in reversed(self.order(unit, row)):
                        if after is not None:
                            m = carry[min(t, after), row]
                            dh, dc = dh * m, dc * m
                        dh = dh + out[t, row, direction * self.H :][: self.H]
                        squares[unit, t] += dh @ dh
                        dh = clip_row(dh, step_clip_norm, step_clip_value)
                        dx, dh, dc = self.cell.back(w, gw, *self.kept[unit, t, row], dh, dc)
                        below[t, row] += dx
                        if self.enters_zero(unit, t, row):
                            dh = dc = np.zeros(self.H)
                        after = t
                    first[0, unit, row] = dh
                    if self.parts == 2:
                        first[1, unit, row] = dc
            out = below
        if self.learns:
            for name, part in zip(("state_h0", "state_c0"), first, strict=False):
                g[name] += part.sum(axis=1)
        return {**g, "x": out, "state": first, "norms": np.sqrt(squares)}
