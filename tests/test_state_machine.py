"""Sequences of calls on one network against a model: the naive oracle, and what each call may and may not change.

`python tests/fuzz/sequences.py SECONDS` runs longer ones.
"""

import copy
import os
import pickle
import tempfile

import cases
import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import bptt

TOLERANCE = 1e-8
NETWORKS = st.fixed_dictionaries(
    {
        "sizes": st.tuples(st.integers(1, 4), st.integers(1, 6), st.sampled_from([None, 1, 3])),
        "cell": st.sampled_from(sorted(cases.CELLS)),
        "inputs": st.sampled_from(cases.INPUTS),
        "num_layers": st.integers(1, 2),
        "bidirectional": st.booleans(),
        "bias": st.booleans(),
        "learn_state": st.booleans(),
        "batch_first": st.booleans(),
    }
)
BACKWARD = st.fixed_dictionaries(
    {
        "dstate": st.booleans(),
        "carry": st.booleans(),
        "clip": st.sampled_from(cases.CLIPS),
        "wanted": st.booleans(),
    }
)
OPTIMIZERS = [
    ("SGD", {"momentum": 0.9}),
    ("SGD", {}),
    ("Adam", {"weight_decay": 0.01}),
    ("RMSprop", {}),
    ("Adagrad", {}),
]
STREAM_CALLS = st.lists(st.sampled_from(["step", "step", "step into", "reset", "refresh"]), max_size=6)
COPIES = ["copy", "pickle", "file", "state_dict"]


def arrays_of(state):
    return np.stack(state) if isinstance(state, tuple) else state[None]


class Calls(RuleBasedStateMachine):
    """The network, and beside it what it must hold: `params`, `grads`, and the oracle of the last forward."""

    ran = 0  # rules of all sequences, for tests/fuzz/sequences.py

    @initialize(options=NETWORKS, seed=st.integers(0, 2**32 - 1))
    def make(self, options, seed):
        sizes, cell, inputs = (options.pop(name) for name in ("sizes", "cell", "inputs"))
        self.rng = np.random.default_rng(seed)
        self.rnn = bptt.RNN(*sizes, **cases.CELLS[cell], **inputs, **options, dtype="float64", seed=seed)
        self.params = self.rnn.params.copy()
        self.grads = np.zeros_like(self.params)
        self.run = None  # (oracle, T, B) of the last forward with a tape
        self.stream = None  # the stream, its oracle and its state (parts,L,B,H)
        self.optimizer = None

    # ---- what holds after every call ---------------------------------------------------------------------

    @invariant()
    def holds_what_the_model_holds(self):
        type(self).ran += 1
        if not hasattr(self, "rnn"):
            return
        np.testing.assert_array_equal(self.rnn.params, self.params)
        self.close(self.rnn.grads, self.grads, "grads")
        for flat, views in ((self.rnn.params, self.rnn.param_views()), (self.rnn.grads, self.rnn.grad_views())):
            np.testing.assert_array_equal(np.concatenate([view.ravel() for view in views.values()]), flat)

    @staticmethod
    def close(actual, expected, name):
        """Within the rounding of numbers of their size, or of common size."""
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert actual.shape == expected.shape, name
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=TOLERANCE * max(1, np.abs(expected).max()), err_msg=name
        )

    # ---- random arguments --------------------------------------------------------------------------------

    def sequence(self, T, B):
        """x as the oracle takes it."""
        vocabulary = self.rnn.spec.vocabulary
        return (
            self.rng.integers(vocabulary, size=(T, B))
            if vocabulary
            else self.rng.normal(size=(T, B, self.rnn.input_size))
        )

    def states(self, B):
        """A state (parts,L*D,B,H)."""
        return self.rng.normal(size=(self.rnn.states, self.rnn.units, B, self.rnn.hidden_size))

    def laid_out(self, array):
        """(T,B,...) as the network takes it, and back."""
        return array.swapaxes(0, 1) if self.rnn.batch_first else array

    def oracle(self):
        return reference.Oracle(self.rnn)

    # ---- forward and backward ----------------------------------------------------------------------------

    @rule(T=st.integers(1, 9), B=st.integers(1, 4), given=st.booleans(), lengths=st.booleans(), reset=st.booleans(),
          tape=st.sampled_from([True, True, True, False]), checkpoint=st.sampled_from([None, None, 2, "auto"]),
          then=st.lists(BACKWARD, max_size=2))  # fmt: skip
    def forward(self, T, B, given, lengths, reset, tape, checkpoint, then):
        x, states = self.sequence(T, B), self.states(B) if given else None
        lengths = self.rng.integers(1, T + 1, B) if lengths else None
        reset = self.rng.random((T, B)) < 0.3 if reset else None
        oracle = self.oracle()
        expected, last = oracle.forward(x, states, lengths, reset)
        if self.rnn.bidirectional:
            checkpoint = None
        y, state = self.rnn.forward(
            self.laid_out(x),
            None if states is None else cases.Problem.as_given(states),
            lengths=lengths,
            reset=None if reset is None else self.laid_out(reset),
            checkpoint=checkpoint,
            tape=tape,
        )
        self.close(self.laid_out(y), expected, "y")
        self.close(arrays_of(state), last, "state")
        self.run = (oracle, T, B) if tape else None
        for options in then if tape else ():
            self.go_back(**options)

    @precondition(lambda self: self.run)
    @rule(options=BACKWARD)
    def backward(self, options):
        self.go_back(**options)

    def go_back(self, dstate, carry, clip, wanted):
        oracle, T, B = self.run
        dy = self.rng.normal(size=(T, B, oracle_width(self.rnn)))
        dstates = self.states(B) if dstate else None
        carry = self.rng.uniform(0, 1.5, (T, B)) * (self.rng.random((T, B)) < 0.8) if carry else None
        expected = oracle.backward(dy, dstates, carry, **clip)
        dx, dstate0 = self.rnn.backward(
            self.laid_out(dy),
            None if dstates is None else cases.Problem.as_given(dstates),
            carry=None if carry is None else self.laid_out(carry),
            input_grad=wanted,
            state_grad=wanted,
            **clip,
        )
        assert (dstate0 is None) is not wanted
        if wanted:
            self.close(arrays_of(dstate0), expected["state"], "dstate0")
        if dx is not None:
            self.close(self.laid_out(dx), expected["x"], "dx")
        self.grads += np.concatenate([expected[name].ravel() for name in self.rnn.param_views()])

    @rule(T=st.integers(1, 9), B=st.integers(1, 3), k1=st.integers(1, 4), more=st.integers(0, 3), full=st.booleans())
    def windows(self, T, B, k1, more, full):
        """Each window is the oracle's backward over its own steps, from the state that enters them."""
        x, target = self.sequence(T, B), self.rng.normal(size=(T, B, oracle_width(self.rnn)))
        full = full or self.rnn.bidirectional
        truncation = None if full else bptt.TBPTT(k1, k1 + more)
        for w in self.rnn.windows(self.laid_out(x), self.laid_out(target), truncation=truncation):
            back = 0 if full else max(0, w.stop - k1 - more)
            if w.stop == T and not full:
                back = max(0, T - k1 - more)
            loss = self.window_grads(x, target, back, w.start, w.stop)
            self.close(w.loss, loss, "loss")
            self.close(self.rnn.grads, self.grads, f"the gradient of steps {w.start} to {w.stop}")
        assert w.stop == T
        self.run = None

    def window_grads(self, x, target, back, start, stop):
        """Sets the model's gradients to those of the window; returns its loss."""
        oracle, before = self.oracle(), None
        if back:
            _, before = oracle.forward(x[:back])
        y, _ = oracle.forward(x[back:stop], before)
        error = np.zeros_like(y)
        error[start - back :] = y[start - back :] - target[start:stop]
        count = target[start:stop].size
        g = oracle.backward(2 * error / count)
        self.grads = np.concatenate([g[name].ravel() for name in self.rnn.param_views()])
        return (error**2).sum() / count

    # ---- gradients and parameters ------------------------------------------------------------------------

    @rule()
    def zero_grad(self):
        self.rnn.zero_grad()
        self.grads[:] = 0

    @rule(limit=st.sampled_from([1e-3, 0.5, float("inf")]))
    def clip_norm(self, limit):
        norm = np.linalg.norm(self.grads)
        self.close(self.rnn.clip_grad_norm(limit), norm, "norm")
        self.grads = self.rnn.grads.copy()
        assert np.linalg.norm(self.grads) <= min(limit, norm) * (1 + TOLERANCE) + TOLERANCE

    @rule(limit=st.sampled_from([1e-3, 0.5, float("inf")]))
    def clip_value(self, limit):
        largest = np.abs(self.grads).max()
        self.close(self.rnn.clip_grad_value(limit), largest, "largest")
        self.grads = np.clip(self.grads, -limit, limit)

    @rule(kind=st.sampled_from(OPTIMIZERS), steps=st.integers(0, 3))
    def take_optimizer(self, kind, steps):
        name, options = kind
        self.optimizer = getattr(bptt, name)(self.rnn.params, self.rnn.grads, lr=0.01, **options)
        for _ in range(steps):
            self.update(False)

    @precondition(lambda self: self.optimizer)
    @rule(again=st.booleans())
    def step(self, again):
        self.update(again)

    def update(self, again):
        """A step of an optimiser is the same for arrays of its own, and after its state was taken and given back."""
        own = self.params.copy()
        other = copy.deepcopy(self.optimizer)
        twin = type(other)(own, self.rnn.grads.copy(), lr=other.lr, **other.hyperparameters())
        twin.load_state_dict(other.state_dict())
        if again:
            self.optimizer.load_state_dict(self.optimizer.state_dict())
        self.optimizer.step()
        twin.step()
        self.params = own
        self.run = None  # backward would use new parameters with the states of old ones

    @rule(how=st.sampled_from(["assign", "in place", "views", "load"]))
    def change_params(self, how):
        self.params = self.rng.normal(size=self.params.size) * 0.4
        if how == "assign":
            self.rnn.params = self.params
        elif how == "in place":
            self.rnn.params[:] = self.params
        else:
            views = bptt._rnn.views_of(self.params, self.rnn.tensors())
            if how == "load":
                self.rnn.load_state_dict(views)
            for name, view in self.rnn.param_views().items():
                view[...] = views[name]
        self.run = None

    # ---- streams -----------------------------------------------------------------------------------------

    @precondition(lambda self: not self.rnn.bidirectional)
    @rule(B=st.integers(1, 3), given=st.booleans(), then=STREAM_CALLS)
    def open_stream(self, B, given, then):
        states = self.states(B) if given else None
        stream = self.rnn.stream(B, state=None if states is None else cases.Problem.as_given(states))
        self.stream = [stream, self.oracle(), self.first_states(B) if states is None else states]
        self.use_stream(then)

    def first_states(self, B):
        oracle = self.oracle()
        learned = [
            oracle.p.get(name, np.zeros((self.rnn.units, self.rnn.hidden_size))) for name in ("state_h0", "state_c0")
        ]
        return np.repeat(np.stack(learned[: self.rnn.states])[:, :, None], B, axis=2)

    @precondition(lambda self: self.stream)
    @rule(calls=STREAM_CALLS)
    def go_on_with_the_stream(self, calls):
        self.use_stream(calls)

    def use_stream(self, calls):
        for call in calls:
            if call == "refresh":
                self.stream[0].refresh()
                self.stream[1] = self.oracle()
            elif call == "reset":
                self.reset_stream()
            else:
                self.step_stream(into=call == "step into")
            self.the_stream_holds_its_state()

    def step_stream(self, into):
        stream, oracle, states = self.stream
        x = self.sequence(1, stream.batch)
        expected, self.stream[2] = oracle.forward(x, states)
        out = np.empty(expected.shape[1:]) if into else None
        y = stream(x[0], out=out)
        assert out is None or y is out
        self.close(y, expected[0], "the stream's output")

    def reset_stream(self):
        """Some rows. What they become was taken with the weights."""
        stream, oracle, states = self.stream
        mask = self.rng.random(stream.batch) < 0.6
        stream.reset(mask)
        for part, name in zip(states, ("state_h0", "state_c0"), strict=False):
            part[:, mask] = oracle.p[name][:, None] if name in oracle.p else 0

    @invariant()
    def the_stream_holds_its_state(self):
        if getattr(self, "stream", None):
            stream, _, states = self.stream
            self.close(arrays_of(stream.state), states, "the stream's state")

    # ---- copies ------------------------------------------------------------------------------------------

    @rule(how=st.sampled_from(COPIES))
    def go_on_with_a_copy(self, how):
        """Which has the parameters; gradients and the tape stay behind."""
        rnn = self.rnn
        if how == "copy":
            self.rnn = copy.deepcopy(rnn)
        elif how == "pickle":
            self.rnn = pickle.loads(pickle.dumps(rnn))
        elif how == "file":
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model")
                rnn.save(path)
                self.rnn = bptt.RNN.load(path)
        else:
            self.rnn = bptt.RNN(**rnn.description())
            self.rnn.load_state_dict(rnn.state_dict())
        rnn.params[:] = np.nan  # the copy has memory of its own
        assert self.rnn.spec == rnn.spec
        self.grads = np.zeros_like(self.params)
        self.run = self.stream = self.optimizer = None

    # ---- bad calls ---------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 15))
    def bad_call(self, number):
        """Is refused and changes nothing: the invariants hold, and what the last forward left is still there."""
        rnn, B = self.rnn, 2
        x = self.laid_out(self.sequence(3, B))
        T_axis = (3, B, oracle_width(rnn))
        calls = [
            lambda: rnn.forward(x[..., :0] if not rnn.spec.vocabulary else x.astype(float)),
            lambda: rnn.forward(x, np.zeros((1, 9, 9, 9))),
            lambda: rnn.forward(x, lengths=[4, 1]),
            lambda: rnn.forward(x, lengths=[1]),
            lambda: rnn.forward(x, reset=np.zeros(5, bool)),
            lambda: rnn.forward(x, checkpoint=0),
            lambda: rnn.forward(x, tape=3),
            lambda: rnn.backward(np.zeros((97, 3, 5))),
            lambda: rnn.backward(None, step_clip_norm=-1),
            lambda: rnn.clip_grad_norm(0),
            lambda: rnn.clip_grad_value(np.nan),
            lambda: rnn.load_state_dict({**rnn.state_dict(), "other": 1}),
            lambda: rnn.load_state_dict({name: np.zeros(97) for name in rnn.param_views()}),
            lambda: setattr(rnn, "params", np.zeros(rnn.params.size + 1)),
            lambda: list(rnn.windows(x, np.zeros(T_axis), truncation=5)),
            lambda: self.stream[0](np.zeros((7, 7, 7))),
        ]
        if number == 15 and not self.stream:
            return
        errors = (ValueError, TypeError) if self.run else (ValueError, TypeError, RuntimeError)
        with pytest.raises(errors):
            calls[number]()


def oracle_width(rnn):
    """Columns of an output."""
    return rnn.output_size or rnn.hidden_size * (1 + rnn.bidirectional)


TestCalls = Calls.TestCase
TestCalls.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
