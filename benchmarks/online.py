"""Learning at every step: RTRL beside the same step in NumPy and in jax (jit), SnAp-1 beside a step of a stream, and
both beside truncated BPTT.

A step of a learner is y = learner(x) and learner.backward(dy) of a tanh network with 16 inputs and 4 outputs, batch 1,
float32. All contestants run in one process, take turns, and their gradients are compared first. A turn has a multiple
of 64 steps, as RTRL multiplies its influence matrix by the state's Jacobian for up to 64 steps at once; the table gives
the fastest turn of each, and the longest step of ours. With one thread time is that of the processor, so that other
programs disturb less.

    python benchmarks/online.py [--threads N] [--isa avx2] [--parts rtrl tanh gru lstm] [H ...]
"""

import argparse
import time

import train_step

I, O = 16, 4
STEPS = 64  # of a turn, a multiple of them
TURN = 0.15  # seconds
PARTS = ["rtrl", "tanh", "gru", "lstm"]


def numpy_step(np, H):
    """The step that people write: the influence matrix (H,P) times the Jacobian, plus the immediate influence."""
    columns = I + H + 1
    unit = np.arange(H)
    state = {"h": np.zeros(H, np.float32), "J": np.zeros((H, H * columns), np.float32)}
    other = np.empty_like(state["J"])

    def step(p, x, dy):
        nonlocal other
        operands = np.concatenate([x, state["h"], np.ones(1, np.float32)])
        h = np.tanh(p["W_ih"] @ x + p["W_hh"] @ state["h"] + p["b"])
        slope = 1 - h * h
        np.matmul(slope[:, None] * p["W_hh"], state["J"], out=other)
        other.reshape(H, H, columns)[unit, unit] += slope[:, None] * operands
        state["h"], state["J"], other = h, other, state["J"]
        return p["W_ho"] @ h + p["b_o"], ((dy @ p["W_ho"]) @ state["J"]).reshape(H, columns)

    return step


def jax_step(np, H):
    """The same, compiled; the influence matrix is updated in place."""
    import jax
    import jax.numpy as jnp

    columns = I + H + 1
    unit = np.arange(H)

    def compiled(h, J, p, x, dy):
        operands = jnp.concatenate([x, h, jnp.ones(1, np.float32)])
        h = jnp.tanh(p["W_ih"] @ x + p["W_hh"] @ h + p["b"])
        slope = 1 - h * h
        J = ((slope[:, None] * p["W_hh"]) @ J.reshape(H, -1)).reshape(H, H, columns)
        J = J.at[unit, unit].add(slope[:, None] * operands)
        return h, J, p["W_ho"] @ h + p["b_o"], jnp.tensordot(dy @ p["W_ho"], J, 1)

    compiled = jax.jit(compiled, donate_argnums=(0, 1))
    state = [jnp.zeros(H, np.float32), jnp.zeros((H, H, columns), np.float32)]

    def step(p, x, dy):
        *state[:], y, gradient = compiled(*state, p, x, dy)
        return y, gradient.block_until_ready()

    return step


def peers_of(np, H, rnn, xs, dys):
    """{name: call of step t} of the libraries that are there."""
    w = rnn.param_views()
    p = {"W_ih": w["weight_ih_l0"], "W_hh": w["weight_hh_l0"], "b": w["bias_ih_l0"] + w["bias_hh_l0"],
         "W_ho": w["weight_ho"], "b_o": w["bias_o"]}  # fmt: skip
    peers = {}
    for name, make in (("numpy", numpy_step), ("jax", jax_step)):
        try:
            step = make(np, H)
        except ImportError:
            continue
        peers[name] = lambda t, step=step: step(p, xs[t % len(xs)], dys[t % len(dys)])
    return peers


def compare(np, rnn, learner, peers, xs, dys):
    """After some steps the gradients of all are the same."""
    for t in range(3 * STEPS):
        rnn.zero_grad()
        learner(xs[t % len(xs)])
        learner.backward(dys[t % len(dys)])
        gradients = {name: call(t)[1] for name, call in peers.items()}
    g = rnn.grad_views()
    ours = np.concatenate([g["weight_ih_l0"], g["weight_hh_l0"], g["bias_ih_l0"][:, None]], axis=1)
    for name, gradient in gradients.items():
        error = np.abs(np.asarray(gradient) - ours).max() / np.abs(ours).max()
        if not error < 1e-3:
            raise SystemExit(f"{name}: another gradient, error {error:.2g}")


def clock():
    """Seconds; of the processor where one thread works."""
    return time.process_time() if clock.one_thread else time.perf_counter()


def timed(calls, rounds):
    """{name: microseconds of a step in the fastest turn}"""
    turns, steps = {name: [] for name in calls}, {}
    for name, call in calls.items():
        began = clock()
        for t in range(STEPS):
            call(t)
        steps[name] = STEPS * max(1, int(TURN / (clock() - began)))
    for _ in range(rounds):
        for name, call in calls.items():
            began = clock()
            for t in range(steps[name]):
                call(t)
            turns[name].append((clock() - began) / steps[name] * 1e6)
    return {name: min(times) for name, times in turns.items()}


def longest(call):
    """Microseconds of the longest of STEPS steps, the least of some runs."""
    runs = []
    for _ in range(5):
        times = []
        for t in range(STEPS):
            began = clock()
            call(t)
            times.append(clock() - began)
        runs.append(max(times))
    return min(runs) * 1e6


def learner_calls(np, bptt, H, threads, cell):
    rnn = bptt.RNN(I, H, O, cell=cell, seed=0, threads=threads)
    rng = np.random.default_rng(1)
    xs, dys = [*rng.normal(size=(100, I)).astype(np.float32)], [*rng.normal(size=(100, O)).astype(np.float32)]
    out = np.empty(O, np.float32)

    def learning(learner):
        def call(t):
            learner(xs[t % 100], out=out)
            learner.backward(dys[t % 100])

        return call

    stream = rnn.stream()
    return rnn, xs, dys, {
        "RTRL": learning(bptt.RTRL(rnn)),
        "SnAp-1": learning(bptt.SnAp1(rnn)),
        "stream": lambda t: stream(xs[t % 100], out=out),
    }  # fmt: skip


def window_calls(np, bptt, H, threads, cell):
    """Truncated BPTT over a sequence, one call for STEPS steps."""
    rnn = bptt.RNN(I, H, O, cell=cell, seed=0, threads=threads)
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(16 * STEPS, 1, n)).astype(np.float32) for n in (I, O))

    def call_of(k1, k2):
        def call(t):
            if t % len(x) == 0:
                call.windows = rnn.windows(x, y, truncation=bptt.TBPTT(k1, k2))
            if t % k1 == k1 - 1:
                next(call.windows)

        return call

    return {f"TBPTT({k1}, {k2})": call_of(k1, k2) for k1, k2 in ((1, 16), (16, 16))}


def main():
    parser = argparse.ArgumentParser(description="Time a step of RTRL and of SnAp-1.")
    parser.add_argument("sizes", nargs="*", type=int, default=[32, 64, 128], metavar="H", help="hidden units")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", choices=train_step.ISAS)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="rtrl: RTRL beside NumPy and jax")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each (default %(default)s)")
    options = parser.parse_args()
    train_step.limit(options.threads, options.isa)
    clock.one_thread = options.threads == 1

    import numpy as np

    import bptt

    print("a step and its backward, microseconds; 16 inputs, 4 outputs, batch 1, float32")
    for H in options.sizes if "rtrl" in options.parts else ():
        rnn, xs, dys, ours = learner_calls(np, bptt, H, options.threads, "tanh")
        peers = peers_of(np, H, rnn, xs, dys)
        compare(np, rnn, bptt.RTRL(rnn), peers, xs, dys)
        fastest = timed({"RTRL": ours["RTRL"], **peers}, options.rounds)
        line = f"  tanh, H = {H:<4} RTRL {fastest['RTRL']:8.1f} (longest {longest(ours['RTRL']):7.1f})"
        for name in peers:
            line += f"   {name} {fastest[name]:8.1f}, {fastest[name] / fastest['RTRL']:4.1f} times"
        print(line)
    for cell in [part for part in options.parts if part != "rtrl"]:
        print(f"beside a step of a stream and beside truncated BPTT, microseconds a step; {cell}")
        for H in options.sizes:
            _, _, _, ours = learner_calls(np, bptt, H, options.threads, cell)
            fastest = timed(ours | window_calls(np, bptt, H, options.threads, cell), options.rounds)
            print(f"  H = {H:<4}", "  ".join(f"{name} {us:.2f}" for name, us in fastest.items()),
                  f"  SnAp-1 / stream {fastest['SnAp-1'] / fastest['stream']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
