"""Leaky units and noise: finite differences, limits of the leak, what the noise is a function of, files and converters.

That a leak goes with every other option is tested wherever cases.CELLS is gone over.
"""

import pickle

import numpy as np
import pytest
from cases import VANILLA, assert_all_close, assert_close, assert_same, case_id, covering

import bptt

LEAKS = [{"leak": 0.3}, {"leak": 0.3, "learn_leak": True}, {"leak": 0.02, "learn_leak": True}]
NETWORKS = {  # a case | case["leak"] are options of a problem
    "cell": VANILLA,
    "leak": LEAKS,
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "noise": [0.0, 0.2],
    "recurrent_dropout": [0.0, 0.3],
    "lengths": [False, True],
    "reset": [False, True],
}


# ---- gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", covering(NETWORKS, alone=False), ids=case_id)
def test_finite_differences(problem, case):
    p = problem(6, 3, 2, 4, 2, **case | case["leak"])
    fixed = p.rnn.dropout_state
    gradients = p.copied_gradients()
    for name, tensor in p.tensors().items():
        flat, numeric = tensor.reshape(-1), np.empty(tensor.size)
        for i, value in enumerate(flat.copy()):
            sides = []
            for step in (1e-5, -1e-5):
                flat[i] = value + step
                p.rnn.dropout_state = fixed
                sides.append(p.loss(tape=True))
            flat[i] = value
            numeric[i] = (sides[0] - sides[1]) / 2e-5
        assert_close(gradients[name].reshape(-1), numeric, 2e-7, name)


ORACLE = {"cell": VANILLA, "leak": LEAKS, "carry": [0, 2], "bidirectional": [False, True]}


@pytest.mark.parametrize("case", covering(ORACLE), ids=case_id)
def test_against_the_oracle(problem, case):
    p = problem(9, 5, 3, 7, 2, num_layers=2, lengths=True, reset=True, **case | case["leak"])
    ours, expected = p.copied_gradients(), p.oracle()
    assert_all_close(ours, expected, 1e-12)
    clipped = p.copied_gradients(step_clip_norm=0.5)
    assert_all_close(clipped, p.oracle(step_clip_norm=0.5), 1e-12)
    if not case["bidirectional"]:
        assert_all_close(p.copied_gradients(forward_options={"checkpoint": 4}), expected, 1e-12)


def test_a_small_leak_keeps_its_digits(problem):
    """f(z) is kept: (h_t - (1-a) h_{t-1}) / a would have lost four digits."""
    single = problem(50, 4, 3, 8, 2, dtype="float32", leak=1e-4)
    double = problem(50, 4, 3, 8, 2, leak=1e-4)
    double.rnn.params = single.rnn.params
    for name in ("x", "states", "dy", "dstates"):
        getattr(double, name)[...] = getattr(single, name)
    assert_all_close(single.copied_gradients(), double.copied_gradients(), 1e-5)


# ---- the limits of the leak ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", VANILLA)
def test_a_leak_of_one_is_the_cell_without(problem, cell):
    """To the bit where it is given; where it is trained and has come to 1 the outputs are."""
    plain, given = problem(20, 5, 3, 7, 2, cell=cell), problem(20, 5, 3, 7, 2, cell=cell, leak=1, noise=0)
    assert_same(given.copied_gradients(), plain.copied_gradients())
    trained = problem(20, 5, 3, 7, 2, cell=cell, leak=0.5, learn_leak=True)
    views = trained.rnn.param_views()
    for name, view in plain.rnn.param_views().items():
        views[name][...] = view
    views["leak_l0"][...] = 60
    for name in ("x", "states", "dy", "dstates"):
        getattr(trained, name)[...] = getattr(plain, name)
    theirs, ours = plain.copied_gradients(), trained.copied_gradients()
    np.testing.assert_array_equal(ours["y"], theirs["y"])
    assert not ours.pop("leak_l0").any()
    assert_all_close(ours, theirs, 1e-13)


def test_a_unit_without_input_decays():
    """The literal case: h_t = (1-a)^t h_0 where W is zero and f(0) = 0."""
    zeros = {"init": lambda name, shape, rng: np.zeros(shape)}
    rnn = bptt.RNN(1, 3, cell="identity", leak=0.25, bias=False, dtype="float64", **zeros)
    y, _ = rnn.forward(np.zeros((6, 1)), np.array([[[1.0, 2.0, -4.0]]]))
    np.testing.assert_allclose(y, 0.75 ** np.arange(1, 7)[:, None] * [1, 2, -4], rtol=1e-15)


def test_a_trained_leak_begins_where_it_is_given():
    rnn = bptt.RNN(2, 5, leak=0.2, learn_leak=True, num_layers=2, bidirectional=True, seed=0, dtype="float64")
    found = {name: view for name, view in rnn.param_views().items() if name.startswith("leak")}
    assert list(found) == ["leak_l0", "leak_l0_reverse", "leak_l1", "leak_l1_reverse"]
    for view in found.values():
        np.testing.assert_allclose(1 / (1 + np.exp(-view)), 0.2, rtol=1e-15)
    plain = bptt.RNN(2, 5, leak=0.2, num_layers=2, bidirectional=True, seed=0, dtype="float64").param_views()
    for name, view in plain.items():
        np.testing.assert_array_equal(view, rnn.param_views()[name])


def test_a_trained_leak_finds_a_time_constant():
    """A leaky integrator of noise is learned: only the leak is wrong at first."""
    rng = np.random.default_rng(0)
    options = {
        "cell": "identity",
        "bias": False,
        "dtype": "float64",
        "init": lambda n, s, g: np.full(s, float("ih" in n)),
    }
    teacher = bptt.RNN(1, 1, leak=0.05, **options)
    x = rng.normal(size=(200, 16, 1))
    target, _ = teacher.forward(x)
    student = bptt.RNN(1, 1, leak=0.5, learn_leak=True, **options)
    leak = student.param_views()["leak_l0"]
    adam = bptt.Adam(student.params, student.grads, lr=0.1)
    for _ in range(150):
        student.zero_grad()
        y, _ = student.forward(x)
        student.backward(bptt.mse(y, target)[1])
        student.grads[:-1] = 0
        adam.step()
    np.testing.assert_allclose(1 / (1 + np.exp(-leak)), 0.05, rtol=0.02)


# ---- noise -------------------------------------------------------------------------------------------------------


def noise_of(T=40, B=9, H=33, **options):
    """(T,B,D*H): the noise itself, which identity cells without weights put out."""
    options = {"cell": "identity", "noise": 1.0, "seed": 3, **options}
    rnn = bptt.RNN(1, H, init=lambda name, shape, rng: np.zeros(shape), **options)
    return rnn.forward(np.zeros((T, B, 1)))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_of_noise(dtype):
    """Within 4.5 standard errors of those of a normal variable; neighbours of every kind are uncorrelated."""
    z = noise_of(100, 64, 65, dtype=dtype).astype(float)
    n = z.size
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((z**power).mean() - expected) < 4.5 * np.sqrt(variance / n), power
    assert 4 < abs(z).max() < 7
    for share in (1.0, 2.0, 3.0):
        tail = {1.0: 0.31731, 2.0: 0.0455, 3.0: 0.0027}[share]
        assert abs((abs(z) > share).mean() - tail) < 4.5 * np.sqrt(tail / n)
    for a, b in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[..., 1:], z[..., :-1]), (z[..., :32], z[..., 33:])):
        assert abs((a * b).mean()) < 4.5 / np.sqrt(a.size)
        assert abs((a**2 * b**2).mean() - 1) < 4.5 * np.sqrt(8 / a.size)


def test_layers_and_directions_have_noise_of_their_own():
    one, both = noise_of(), noise_of(bidirectional=True)
    np.testing.assert_array_equal(both[..., :33], one)
    assert abs(np.corrcoef(both[..., :33].ravel(), both[..., 33:].ravel())[0, 1]) < 0.05
    second = noise_of(num_layers=2)
    assert abs(np.corrcoef(one.ravel(), second.ravel())[0, 1]) < 0.05
    assert not np.array_equal(noise_of(seed=4), one)


def test_noise_is_a_function_of_seed_step_row_and_unit(problem):
    """Not of threads, checkpoints or windows, nor of how many steps and rows there are."""
    z = noise_of()
    np.testing.assert_array_equal(noise_of(25, 4), z[:25, :4])
    np.testing.assert_array_equal(noise_of(B=9, threads=2), z)
    p = problem(64, 70, 3, 33, 2, noise=0.3, leak=0.2, num_layers=2, threads=1)
    fixed = p.rnn.dropout_state
    y, grads = p.copied_gradients()["y"], p.rnn.grads.copy()
    for threads, options in ((2, {}), (1, {"checkpoint": 7})):
        p.rnn.threads, p.rnn.dropout_state = threads, fixed
        again = p.copied_gradients(forward_options=options)
        np.testing.assert_array_equal(again["y"], y)
        assert_close(p.rnn.grads, grads, 1e-12)
    p.rnn.dropout_state = fixed
    for w in p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(5, 11), state=p.state):
        np.testing.assert_array_equal(w.y, y[w.start : w.stop])


def test_noise_is_only_of_training():
    rnn, plain = bptt.RNN(2, 6, 1, leak=0.3, noise=0.5, seed=0), bptt.RNN(2, 6, 1, leak=0.3, seed=0)
    x = np.random.default_rng(0).normal(size=(7, 3, 2))
    quiet = rnn.forward(x, tape=False)[0]
    np.testing.assert_array_equal(quiet, plain.forward(x)[0])
    noisy, other = rnn.forward(x)[0], rnn.forward(x)[0]
    assert not np.array_equal(noisy, quiet)
    assert not np.array_equal(noisy, other)
    stream = rnn.stream(3)
    assert_close([stream(step) for step in x], quiet, 1e-6)


@pytest.mark.parametrize("cell, gates", [("lstm", 4), ("gru", 3)])
def test_noise_of_gated_cells_enters_every_gate(cell, gates):
    """z_t + noise * xi: the same as inputs that have it."""
    rnn = bptt.RNN(gates * 5, 5, cell=cell, noise=0.4, seed=0, dtype="float64", bias=False)
    rnn.param_views()["weight_ih_l0"][...] = np.eye(gates * 5)
    added = noise_of(9, 2, gates * 5, noise=0.4, dtype="float64")
    seed = bptt.RNN(1, gates * 5, cell="identity", noise=0.4, seed=3, init=lambda n, s, g: np.zeros(s)).dropout_state
    rnn.dropout_state = seed
    quiet = bptt.RNN(gates * 5, 5, cell=cell, seed=0, dtype="float64", bias=False)
    quiet.params = rnn.params
    x = np.random.default_rng(0).normal(size=(9, 2, gates * 5))
    assert_close(rnn.forward(x)[0], quiet.forward(x + added)[0], 1e-14)


# ---- files, copies, converters --------------------------------------------------------------------------------------


def test_a_leaky_network_is_saved_copied_and_shown(tmp_path):
    rnn = bptt.RNN(2, 5, 1, leak=0.2, learn_leak=True, noise=0.1, seed=0)
    assert repr(rnn) == "RNN(2, 5, 1, cell='tanh', leak=0.2, learn_leak=True, noise=0.1): 56 parameters"
    rnn.save(tmp_path / "model")
    x = np.ones((4, 3, 2))
    for other in (bptt.RNN.load(tmp_path / "model"), pickle.loads(pickle.dumps(rnn)), bptt.RNN(**rnn.description())):
        assert (other.leak, other.learn_leak, other.noise) == (0.2, True, 0.1)
        other.params = rnn.params
        np.testing.assert_array_equal(other.forward(x, tape=False)[0], rnn.forward(x, tape=False)[0])


CANNOT_HOLD = [  # (function, options, words of the error)
    ("to_torch", {"leak": 0.5}, "leak=0.5"),
    ("to_torch", {"leak": 0.5, "learn_leak": True}, "learn_leak=True"),
    ("to_torch", {"noise": 0.5}, "noise=0.5"),
    ("to_onnx", {"leak": 0.5}, "leak=0.5"),
    ("to_onnx", {"leak": 0.5, "learn_leak": True}, "learn_leak=True"),
    ("to_rtneural", {"leak": 0.5}, "cell='tanh' and leak=0.5"),
    ("to_nam", {"leak": 0.5}, "cell='tanh' and leak=0.5"),
    ("to_keras_weights", {"leak": 0.5}, "leak=0.5"),
    ("to_keras_weights", {"leak": 0.5, "learn_leak": True}, "learn_leak=True"),
]


@pytest.mark.parametrize("function, options, words", CANNOT_HOLD, ids=str)
def test_converters_refuse_what_they_cannot_hold(tmp_path, function, options, words):
    if function in ("to_torch", "to_onnx"):
        pytest.importorskip(function.removeprefix("to_"))
    rnn = bptt.RNN(2, 3, 1, seed=0, **options)
    path = [] if function in ("to_torch", "to_keras_weights") else [tmp_path / "model"]
    with pytest.raises(ValueError, match=f"no counterpart of {words}$"):
        getattr(bptt.convert, function)(rnn, *path)
    assert not list(tmp_path.iterdir())


def test_noise_goes_through_onnx_and_keras_as_dropout_does(tmp_path):
    rnn = bptt.RNN(2, 3, 1, noise=0.5, seed=0)
    assert len(bptt.convert.to_keras_weights(rnn)) == 2
    pytest.importorskip("onnx")
    bptt.convert.to_onnx(rnn, tmp_path / "model.onnx")
    assert bptt.convert.from_onnx(tmp_path / "model.onnx").noise == 0.5
