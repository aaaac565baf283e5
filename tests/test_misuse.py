"""What nobody should do, and what must not crash or corrupt when somebody does."""

import signal

import numpy as np
import pytest

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
