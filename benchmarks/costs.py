"""What things cost here: one step of a stream, the import, checkpoints, lengths, norms and clips of every step,
optimisers, and how time grows with T, B, H and threads.

python benchmarks/costs.py
"""

import statistics
import subprocess
import sys
import time
import timeit

import numpy as np
import train_step as benchmark

import bptt

SHAPES = {name: shape for name, shape in benchmark.SHAPES.items() if name not in ("wide", "large")}  # soon done


def median_us(call, seconds=0.5):
    """Median microseconds of a call, in batches that a clock can measure."""
    call()
    number = max(1, int(2e-4 / max(timeit.timeit(call, number=3) / 3, 1e-8)))
    times = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        times.append(timeit.timeit(call, number=number) / number)
    return statistics.median(times) * 1e6


def step_latency():
    print("one step, batch 1, 16 inputs, microseconds from Python")
    try:
        import torch
    except ImportError:
        torch = None
    for H in (16, 64, 256, 1024):
        stream, x, out = bptt.RNN(16, H, seed=0).stream(), np.ones(16, np.float32), np.empty(H, np.float32)
        line = f"  H = {H:<5} stream {median_us(lambda: stream(x, out=out)):8.2f}"  # noqa: B023
        if torch:
            torch.set_num_threads(1)
            cell, xt, h = torch.nn.RNNCell(16, H), torch.ones(1, 16), torch.zeros(1, H)
            with torch.no_grad():
                line += f"   torch.nn.RNNCell {median_us(lambda: cell(xt, h)):8.2f}"  # noqa: B023
        print(line)


def torch_modules():
    """What torch's graph adds to a call, beside an autograd.Function with as many parameters that does nothing."""
    try:
        import torch

        from bptt.torch import LSTM
    except ImportError:
        return
    torch.set_num_threads(1)
    module, theirs, x = LSTM(8, 16), torch.nn.LSTM(8, 16), torch.ones(10, 1, 8)
    rnn, array, dy = bptt.convert.from_torch(module, threads=1), x.numpy(), torch.ones(10, 1, 16)

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, *params):
            ctx.grads = [torch.zeros_like(p) for p in params]
            return dy.detach()

        @staticmethod
        def backward(ctx, dy):
            return None, *(grad.detach() for grad in ctx.grads)

    def backward(y, params):
        for p in params:
            p.grad = None
        y.backward(dy, retain_graph=True)

    params = list(module.parameters())
    outputs = {
        "bptt.torch.LSTM": (module(x)[0], params),
        "autograd.Function": (Nothing.apply(x, *params), params),
        "torch.nn.LSTM": (theirs(x)[0], list(theirs.parameters())),
    }
    calls = {"bptt.RNN": lambda: rnn.forward(array), "bptt.torch.LSTM": lambda: module(x)}
    calls |= {"torch.nn.LSTM": lambda: theirs(x)}
    print("LSTM(8, 16), 10 steps, batch 1, microseconds from Python")
    print("  forward ", "  ".join(f"{name} {median_us(call):.1f}" for name, call in calls.items()))
    rnn.forward(array)
    line = f"bptt.RNN {median_us(lambda: rnn.backward(dy.numpy(), input_grad=False)):.1f}"
    for name, (y, leaves) in outputs.items():
        line += f"  {name} {median_us(lambda: backward(y, leaves)):.1f}"  # noqa: B023
    print("  backward", line)


def import_time():
    def milliseconds(statement):
        runs = []
        for _ in range(9):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            runs.append(time.perf_counter() - began)
        return statistics.median(runs) * 1e3

    numpy, ours = milliseconds("import numpy"), milliseconds("import bptt")
    print(f"import numpy {numpy:.0f} ms, import bptt {ours:.0f} ms: {ours - numpy:.0f} ms more")


def train_step(T, B, H, threads=1):
    rnn = bptt.RNN(32, H, 32, seed=0, threads=threads)
    x = np.random.default_rng(0).normal(size=(T, B, 32)).astype(np.float32)

    def step():
        rnn.zero_grad()
        y, _ = rnn.forward(x)
        rnn.backward(bptt.mse(y, x)[1], input_grad=False)

    return median_us(step) / 1e3


def growth():
    print("a training step in milliseconds, 32 inputs and outputs, one thread unless said")
    for T in (10, 100, 1000):
        print(f"  T = {T:<5} B = 16, H = 128: {train_step(T, 16, 128):9.3f}")
    for B in (1, 2, 4, 8, 16, 64, 256):
        print(f"  B = {B:<5} T = 100, H = 128: {train_step(100, B, 128):8.3f}")
    for H in (16, 33, 64, 128, 256, 512, 1024):
        print(f"  H = {H:<5} T = 100, B = 16: {train_step(100, 16, H):9.3f}")
    for threads in (1, 2):
        print(f"  threads = {threads}, T = 100, B = 64, H = 256: {train_step(100, 64, 256, threads):.3f}")


def checkpoints():
    print("a training step with checkpoint='auto' against the plain tape, T = 1000, B = 16, H = 128, one thread")
    x = np.random.default_rng(0).normal(size=(1000, 16, 32)).astype(np.float32)
    for cell in ("tanh", "lstm", "gru"):
        rnn = bptt.RNN(32, 128, 32, seed=0, cell=cell, threads=1)

        def step(checkpoint):
            y, _ = rnn.forward(x, checkpoint=checkpoint)  # noqa: B023
            rnn.backward(y, input_grad=False)  # noqa: B023

        def seconds(checkpoint):
            return timeit.timeit(lambda: step(checkpoint), timer=time.process_time, number=5) / 5

        runs = [
            (seconds(None), seconds("auto")) for _ in range(10)
        ]  # in turns; of what else runs here only caches tell
        plain, again = (1e3 * min(times) for times in zip(*runs, strict=True))
        print(f"  {cell:5} plain {plain:8.2f} ms   checkpoints {again:8.2f} ms   {100 * (again / plain - 1):+5.0f} %")


def in_turns(step, kinds, rounds=30):
    """{kind: best seconds of step(kind)}, the kinds in turns."""
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(rounds):
        for kind in kinds:
            best[kind] = min(best[kind], timeit.timeit(lambda: step(kind), number=1))  # noqa: B023
    return best


def lengths():
    T, B = 400, 64
    rng = np.random.default_rng(0)
    drawn = rng.integers(1, T + 1, B)
    drawn[0] = T
    x = rng.normal(size=(T, B, 32)).astype(np.float32)
    share = drawn.mean() / T
    print(f"time of {B} rows with lengths from 1..{T} over that of padding, H = 128 (share of the steps: {share:.2f})")
    for cell in ("tanh", "lstm", "gru"):
        for bidirectional in (False, True):
            rnn = bptt.RNN(32, 128, 8, seed=0, cell=cell, bidirectional=bidirectional, threads=1)

            def step(kind):
                y, _ = rnn.forward(x, lengths=drawn if kind == "lengths" else None)  # noqa: B023
                rnn.backward(y, input_grad=False)  # noqa: B023

            best = in_turns(step, ("padded", "lengths"), 6)
            name = f"{cell}{', two directions' if bidirectional else ''}"
            print(f"  {name:22} {best['lengths'] / best['padded']:.2f}")


def updating():
    print("what an optimiser's step and clipping the gradient's norm take, one thread, per cent of a training step")
    for cell in ("tanh", "lstm"):
        for name, (T, B, I, H, O) in SHAPES.items():
            rnn = bptt.RNN(I, H, O, cell=cell, seed=0, threads=1)
            rng = np.random.default_rng(0)
            x, dy = (rng.normal(size=(T, B, n)).astype(np.float32) for n in (I, O))
            rules = {"SGD": bptt.SGD(rnn.params, rnn.grads, momentum=0.9), "Adam": bptt.Adam(rnn.params, rnn.grads)}

            def step(kind):
                if kind in rules:  # noqa: B023
                    rules[kind].step()  # noqa: B023
                elif kind == "clip":
                    rnn.clip_grad_norm(1.0)  # noqa: B023
                else:
                    rnn.forward(x)  # noqa: B023
                    rnn.backward(dy, input_grad=False)  # noqa: B023

            best = in_turns(step, (None, *rules, "clip"), 10 if name == "med" else 100)
            added = "".join(f"{kind:>8} {100 * best[kind] / best[None]:5.1f}" for kind in (*rules, "clip"))
            print(f"  {cell:5} {name:8}{added}")


def watching():
    print("what norms and clips of every step add to a training step, one thread, per cent")
    kinds = {"step_norms": None, "step_clip_norm": 1e3, "step_clip_value": 1e3}
    for cell in ("tanh", "lstm", "gru"):
        for name, (T, B, I, H, O) in SHAPES.items():
            rnn = bptt.RNN(I, H, O, cell=cell, seed=0, threads=1)
            rng = np.random.default_rng(0)
            x, dy = (rng.normal(size=(T, B, n)).astype(np.float32) for n in (I, O))
            norms = np.empty(T, np.float32)

            def step(kind):
                rnn.forward(x)  # noqa: B023
                options = {kind: norms if kind == "step_norms" else kinds[kind]} if kind else {}  # noqa: B023
                rnn.backward(dy, input_grad=False, **options)  # noqa: B023

            best = in_turns(step, (None, *kinds), 10 if name == "med" else 100)
            added = "".join(f"{kind:>18} {100 * (best[kind] / best[None] - 1):+5.1f}" for kind in kinds)
            print(f"  {cell:5} {name:8}{added}")


if __name__ == "__main__":
    step_latency()
    torch_modules()
    import_time()
    checkpoints()
    lengths()
    watching()
    updating()
    growth()
