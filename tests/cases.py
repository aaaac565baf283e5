"""What several modules of tests share: the cells, few combinations of many options, random problems, comparisons."""

import itertools

import numpy as np
import reference

import bptt

CELLS = {
    "tanh": {"cell": "tanh"},
    "relu": {"cell": "relu"},
    "sigmoid": {"cell": "sigmoid"},
    "identity": {"cell": "identity"},
    "lstm": {"cell": "lstm"},
    "peepholes": {"cell": "lstm", "peepholes": True},
    "gru": {"cell": "gru"},
    "reset before": {"cell": "gru", "reset_after": False},
    "leaky": {"cell": "relu", "leak": 0.3},
    "trained leak": {"cell": "tanh", "leak": 0.4, "learn_leak": True},
}
assert {options["cell"] for options in CELLS.values()} == {*bptt._core.CELLS}
VANILLA = ["tanh", "relu", "sigmoid", "identity"]
GATED = ["lstm", "peepholes", "gru", "reset before"]

STARTS = {  # where the initial state comes from: (is one given, is there a learned one)
    "given": (True, False),
    "zero": (False, False),
    "learned": (False, True),
    "given over learned": (True, True),
}
CLIPS = [{}, {"step_clip_norm": 0.7}, {"step_clip_value": 0.2}, {"step_clip_norm": 0.9, "step_clip_value": 0.3}]
INPUTS = [{}, {"one_hot": True}, {"num_embeddings": 6, "padding_idx": 2}]  # real numbers, integers
DROPOUT = [{}, {"dropout": 0.4}, {"recurrent_dropout": 0.3}, {"dropout": 0.4, "recurrent_dropout": 0.3}]


# ---- combinations of options -------------------------------------------------------------------------------------


def covering(options, strength=2, alone=True):
    """Few combinations of the options' values in which every two values of different options occur together (for
    strength 3 every three), and with `alone` each value beside plain ones.

    options : {name: values}, the plain value first
    returns : a list of {name: value}, always the same
    """
    names, values = list(options), [list(v) for v in options.values()]
    indices = [range(len(v)) for v in values]
    missing = {
        tuple(zip(where, chosen, strict=True))
        for where in itertools.combinations(range(len(names)), strength)
        for chosen in itertools.product(*(indices[i] for i in where))
    }
    plain = dict.fromkeys(range(len(names)), 0)
    cases = [plain] + [{**plain, i: v} for i in plain for v in indices[i][1:]] if alone else []
    for case in cases:
        missing.difference_update(itertools.combinations(sorted(case.items()), strength))
    while missing:
        case = dict(min(missing))
        for i in sorted(plain.keys() - case.keys()):
            case[i] = max(indices[i], key=lambda v, i=i, case=case: covered_by(case, (i, v), strength, missing))
        missing.difference_update(itertools.combinations(sorted(case.items()), strength))
        cases.append(case)
    return [{names[i]: values[i][v] for i, v in sorted(case.items())} for case in cases]


def covered_by(case, item, strength, missing):
    """How many missing combinations of values an item completes together with those that were chosen before."""
    return sum(
        tuple(sorted([*others, item])) in missing for others in itertools.combinations(case.items(), strength - 1)
    )


def case_id(value):
    """The name of a case in pytest's output."""
    if not isinstance(value, dict):
        return str(value)
    return ",".join(f"{name}={case_id(v)}".replace(" ", "_") for name, v in value.items()) or "plain"


# ---- random problems ---------------------------------------------------------------------------------------------


class Problem:
    """A network and one sequence for it, all drawn from a seed. States are (parts,L*D,B,H): h, for an LSTM also c.

    cell : a name of CELLS; start : one of STARTS; reset, lengths : whether there are any
    carry : 1 for one factor per step, 2 for one per step and row, 0 for none
    options : of bptt.RNN; with integers as inputs x is (T,B)
    """

    def __init__(self, T, B, I, H, O=None, *, cell="tanh", start="given", seed=0, reset=False, carry=0, lengths=False,
                 **options):  # fmt: skip
        rng, leaks = np.random.default_rng((seed, T, B, H)), np.random.default_rng(seed)
        options.setdefault("dtype", "float64")
        given, learned = STARTS[start]
        self.rnn = bptt.RNN(I, H, O, seed=rng, learn_state=learned, **CELLS[cell], **options)
        dtype = self.rnn.dtype
        for name, view in self.rnn.param_views().items():
            if name.startswith("state"):  # which begin as zeros
                view[...] = rng.uniform(-0.5, 0.5, view.shape)
            elif name.startswith("leak"):  # which begin as one number
                view += leaks.normal(size=view.shape).astype(dtype)
        directions = 2 if self.rnn.bidirectional else 1
        parts = 2 if self.rnn.cell == "lstm" else 1
        shape = (parts, self.rnn.num_layers * directions, B, H)
        self.x = rng.normal(size=(T, B, I)).astype(dtype)
        self.states = rng.normal(size=shape).astype(dtype)
        self.dy = rng.normal(size=(T, B, O or directions * H)).astype(dtype)
        self.dstates = rng.normal(size=shape).astype(dtype)
        self.state, self.dstate = self.as_given(self.states), self.as_given(self.dstates)
        if not given:
            self.state = self.states = None
        self.reset = rng.random((T, B)) < 0.25 if reset else None
        self.carry = self.lengths = None
        if carry:  # some of the factors are 0
            shape = (T, B)[:carry]
            self.carry = (rng.uniform(0.3, 1.8, shape) * (rng.random(shape) < 0.8)).astype(dtype)
        if lengths:  # in any order, one of them T
            self.lengths = rng.integers(1, T + 1, B)
            self.lengths[rng.integers(B)] = T
        if self.rnn.spec.vocabulary:
            self.x = rng.integers(self.rnn.spec.vocabulary, size=(T, B))

    @staticmethod
    def as_given(states):
        """A state as the library takes it, views."""
        return states[0] if len(states) == 1 else (states[0], states[1])

    def tensors(self):
        """{name: array} of all that the loss depends on and has a gradient; views."""
        states = () if self.states is None else self.states
        x = {} if self.rnn.spec.vocabulary else {"x": self.x}
        return {**self.rnn.param_views(), **x, **dict(zip(("state", "cell"), states, strict=False))}

    def forward(self, **options):
        """(y, final state as (parts,L*D,B,H))."""
        y, state = self.rnn.forward(self.x, self.state, lengths=self.lengths, reset=self.reset, **options)
        return y, np.stack(state) if isinstance(state, tuple) else state[None]

    def loss(self, tape=False):
        """A loss whose gradients are dy and dstates, in double."""
        y, states = self.forward(tape=tape)
        return float(np.vdot(y.astype(float), self.dy) + np.vdot(states.astype(float), self.dstates))

    def gradients(self, forward_options=None, **options):
        """{name: gradient} of everything, by the library; "state" is (L*D,B,H), "cell" that of an LSTM's c, "x" is left
        out where it is integers. Those of the parameters are views: the next backward changes them."""
        self.rnn.zero_grad()
        y, _ = self.forward(**forward_options or {})
        dx, dstate0 = self.rnn.backward(self.dy, self.dstate, carry=self.carry, **options)
        of_x = {} if dx is None else {"x": dx}
        return {**self.rnn.grad_views(), **of_x, **by_part(dstate0), "y": y}

    def copied_gradients(self, **options):
        """The same, copies."""
        return {name: g.copy() for name, g in self.gradients(**options).items()}

    def oracle(self, dot=np.dot, **options):
        """The same by the naive oracle, and "norms"."""
        oracle = reference.Oracle(self.rnn, dot)
        states, carry = (None if a is None else a.astype(float) for a in (self.states, self.carry))
        x = self.x if self.rnn.spec.vocabulary else self.x.astype(float)
        y, _ = oracle.forward(x, states, self.lengths, self.reset)
        g = oracle.backward(self.dy.astype(float), self.dstates.astype(float), carry, **options)
        return {**g, **by_part(self.as_given(g["state"])), "y": y}


def by_part(state):
    return {"state": state[0], "cell": state[1]} if isinstance(state, tuple) else {"state": state}


# ---- comparisons -------------------------------------------------------------------------------------------------


def assert_close(actual, expected, tolerance, name=""):
    """Largest error relative to the largest entry."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape, name
    error = np.abs(actual - expected).max()
    scale = np.abs(expected).max()
    assert error <= tolerance * max(scale, 1e-300), f"{name}: error {error:.3g} against {scale:.3g}"


def assert_all_close(actual, expected, tolerance):
    """The same for every array of {name: array}."""
    for name, array in actual.items():
        assert_close(array, expected[name], tolerance, name)


def assert_same(actual, expected):
    """Two lists or two {name: array}, the same to the bit."""
    if isinstance(actual, dict):
        assert list(actual) == list(expected)
        actual, expected = actual.values(), expected.values()
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)
