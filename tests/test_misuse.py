"""What nobody should do, and what must not crash or corrupt when somebody does."""

import signal

import numpy as np
import pytest
from cases import CELLS, assert_same

import bptt


def small(**options):
    return bptt.RNN(3, 8, 2, seed=0, **options)


@pytest.mark.parametrize("name", ["params", "grads"])
def test_flat_arrays_cannot_be_resized(name):
    rnn = small()
    with pytest.raises(ValueError):
        getattr(rnn, name).resize(10_000_000)
    rnn.zero_grad()
    assert np.isfinite(rnn.forward(np.ones((2, 1, 3)))[0]).all()


def test_init_again():
    rnn = small()
    rnn.forward(np.ones((2, 1, 3)))
    with pytest.raises(RuntimeError, match="new object"):
        rnn.__init__(3, 3000, 1)
    stream = rnn.stream()
    with pytest.raises(RuntimeError, match="new object"):
        stream.__init__(rnn, 5, None)
    rnn.backward(np.ones((2, 1, 2)))


def test_a_subclass_that_forgets_init():
    class Forgetful(bptt.RNN):
        def __init__(self):
            pass

    rnn = Forgetful()
    for call in (lambda: rnn.forward(np.ones((1, 1, 1))), rnn.zero_grad, lambda: rnn.backward(None), rnn.stream):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            call()


def test_an_input_that_calls_the_network():
    rnn = small()
    x = np.ones((50, 4, 3), np.float32)
    rnn.forward(x)

    class Nested:
        def __array__(self, dtype=None, copy=None):
            rnn.forward(np.ones((1, 1, 3)))
            return np.ones((50, 4, 2), np.float32)

    with pytest.raises((RuntimeError, ValueError), match="in the middle of a call"):
        rnn.backward(Nested())
    rnn.backward(np.ones((50, 4, 2)))  # the tape is still that of the first forward


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX timers")
def test_a_signal_handler_that_calls_the_network():
    rnn = bptt.RNN(1, 256, 1, seed=0, threads=1)
    x = np.zeros((1_000_000, 4, 1), np.float32)

    def handler(*_):
        rnn.forward(np.ones((1, 1, 1)))

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(RuntimeError, match="in the middle of a call"):
            rnn.forward(x, tape=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    rnn.forward(np.ones((2, 1, 1)))
    rnn.backward(np.ones((2, 1, 1)))


def test_windows_do_not_read_back_what_they_gave():
    rnn = small(dtype="float64")
    x, target = np.ones((40, 2, 3)), np.ones((40, 2, 2))
    plain = [w.loss for w in rnn.windows(x, target, truncation=bptt.TBPTT(5))]
    corrupted = []
    for w in rnn.windows(x, target, truncation=bptt.TBPTT(5)):
        corrupted.append(w.loss)
        w.state[:] = 100
        w.state = np.zeros(1)
    assert corrupted == plain


def test_reset_may_change_after_forward(problem):
    p = problem(9, 3, 2, 5, 2, reset=True)
    expected = {name: g.copy() for name, g in p.gradients().items()}
    p.rnn.zero_grad()
    p.rnn.forward(p.x, p.state, reset=p.reset)
    p.reset[:] = ~p.reset
    p.rnn.backward(p.dy, p.dstate)
    for name, g in p.rnn.grad_views().items():
        np.testing.assert_array_equal(g, expected[name])


def test_out_may_be_the_input():
    """A network that feeds on its own output, in one buffer."""
    rnn = bptt.RNN(4, 8, 4, seed=0)
    a, b = rnn.stream(), rnn.stream()
    value = np.ones(4, np.float32)
    for _ in range(5):
        expected = b(value.copy())
        a(value, out=value)
        np.testing.assert_array_equal(value, expected)


# ---- arrays that share memory ------------------------------------------------------------------------------------


def within(memory, array, start=0):
    """A view of a flat array, from there on, that holds a copy of another array."""
    view = memory[start : start + array.size].reshape(array.shape)
    view[...] = array
    return view


ALIASES = {  # the argument that is a view of rnn.grads, and where it begins there
    "dy": lambda p, view: setattr(p, "dy", view(p.dy)),
    "dy from the middle": lambda p, view: setattr(p, "dy", view(p.dy, 37)),
    "dstate": lambda p, view: setattr(p, "dstate", view(p.dstates)[0]),
    "carry": lambda p, view: setattr(p, "carry", view(p.carry)),
    "x": lambda p, view: setattr(p, "x", view(p.x)),
    "dy and x": lambda p, view: (setattr(p, "dy", view(p.dy)), setattr(p, "x", view(p.x, p.dy.size))),
}


@pytest.mark.parametrize("memory", ["grads", "step_norms"])
@pytest.mark.parametrize("name", ALIASES)
@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"batch_first": True}, {"threads": 3}], ids=str)
def test_inputs_of_backward_may_share_memory_with_what_it_writes(problem, memory, name, options):
    def gradients(aliased):
        p = problem(8, 5, 4, 16, 3, cell="gru", num_layers=2, carry=2, **{"batch_first": False, **options})
        if p.rnn.batch_first:
            p.x, p.dy, p.carry = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (p.x, p.dy, p.carry))
        room = p.rnn.grads if memory == "grads" else np.zeros(1000)
        if aliased:
            ALIASES[name](p, lambda array, start=0: within(room, array, start))
        before = p.rnn.grads.copy()
        p.forward()
        norms = room[40:56].reshape(2, 8) if memory == "step_norms" else np.empty((2, 8))
        dx, dstate = p.rnn.backward(p.dy, p.dstate, carry=p.carry, step_norms=norms)
        return p.rnn.grads - before, dx, dstate, norms

    for ours, expected in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", ["params", "grads"])
@pytest.mark.parametrize("start", [0, 5])
def test_step_norms_have_memory_of_their_own(memory, start):
    rnn = small()
    rnn.forward(np.ones((6, 1, 3)))
    before = rnn.params.copy(), rnn.grads.copy()
    with pytest.raises(
        ValueError, match=f"step_norms must have memory of its own, got memory of the network's {memory}"
    ):
        rnn.backward(np.ones((6, 1, 2)), step_norms=getattr(rnn, memory)[start : start + 6])
    assert_same([rnn.params, rnn.grads], before)


@pytest.mark.parametrize(
    "options", [{}, {"truncation": bptt.TBPTT(3, 5)}, {"truncation": bptt.TBPTT(3), "checkpoint": 2}], ids=str
)
@pytest.mark.parametrize("aliased", ["dy", "x", "chunks of x", "dy is y"])
def test_windows_whose_arrays_lie_in_the_gradients(options, aliased):
    """A loss may compute dy in rnn.grads or in y itself; a chunk of x may be there for one window."""
    T = 3 if "x" in aliased else 8  # the gradients of a window are the end of such an x
    x, target = np.random.default_rng(0).normal(size=(2, T, 4, 3))

    def gradients(aliased):
        rnn = bptt.RNN(3, 16, cell="gru", seed=0, dtype="float64", output_size=3)

        def loss(y, target):
            value, dy = bptt.mse(y, target)
            if aliased == "dy":
                dy = within(rnn.grads, dy, 11)
            if aliased == "dy is y":
                y[...] = dy
                dy = y
            return value, dy

        own = within(rnn.grads, x) if aliased in ("x", "chunks of x") else x
        if aliased == "chunks of x" and options:
            own = iter([own])
        return [(w.loss, rnn.grads.copy()) for w in rnn.windows(own, target, loss, **options)]

    for (ours, grads), (expected, expected_grads) in zip(gradients(aliased), gradients(None), strict=True):
        assert ours == expected
        np.testing.assert_array_equal(grads, expected_grads)


@pytest.mark.parametrize("train", [
    lambda rnn, *data: [rnn.grads.copy() for _ in rnn.windows(*data, truncation=bptt.TBPTT(2, 3))],
    lambda rnn, *data: bptt.fit(rnn, *data, epochs=3, shuffle=False, progress=False).update_loss,
], ids=["windows", "fit"])  # fmt: skip
def test_sequences_that_lie_in_the_gradients_are_read_before_these_are_written(train):
    data = np.random.default_rng(0).normal(size=(2, 6, 2, 2))
    found = []
    for aliased in (False, True):
        rnn = bptt.RNN(2, 8, seed=0, dtype="float64", output_size=2)
        found.append(train(rnn, *(within(rnn.grads, data, 5) if aliased else data)))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_output_of_a_step_may_overlap_its_input(problem, cell, layers):
    p = problem(4, 3, 5, 16, 5, cell=cell, num_layers=layers)
    for shift in (-4, 0, 7):
        memory = np.zeros(40)
        x, out = memory[10:25].reshape(3, 5), memory[10 + shift : 25 + shift].reshape(3, 5)
        stream, apart = p.rnn.stream(3), p.rnn.stream(3)
        for step in p.x:
            x[...] = step
            np.testing.assert_array_equal(stream(x, out=out), apart(step))


def test_outputs_are_the_caller_s(problem):
    """What forward and backward returned may be changed, and may be their next inputs."""
    p = problem(6, 3, 5, 5, num_layers=2)
    y, state = p.rnn.forward(p.x, p.state)
    expected_dx, expected_dstate = (a.copy() for a in p.rnn.backward(p.dy, p.dstate))
    y[...], state[...] = p.dy, p.dstate
    dx, dstate = p.rnn.backward(y, state)
    assert_same([dx, dstate], [expected_dx, expected_dstate])
    expected, _ = p.rnn.forward(dx.copy(), dstate.copy())
    np.testing.assert_array_equal(p.rnn.forward(dx, dstate)[0], expected)
