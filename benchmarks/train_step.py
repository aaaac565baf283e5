"""One training step (zero gradients, forward, mean squared error, backward) of the same network here and in the peers.

All contestants run in one process and take turns of a fifth of a second, each step timed on its own; the table gives
medians and the ratio of theirs to ours. The gradients are compared first: a contestant that computes something else is
an error. --isa holds everybody to an instruction set. "of peak" is our share of what one core reaches in registers,
measured beside each of our turns: on a shared machine that changes from second to second.

    python benchmarks/train_step.py [--quick] [--threads N] [--dtype float64] [--cell tanh,lstm,gru] [--isa avx2]
                                    [--json FILE] [SHAPE ...]
"""

import argparse
import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TURN = 0.2  # seconds
SHAPES = {  # T, B, I, H, O
    "tiny": (100, 1, 8, 32, 4),
    "b1": (1000, 1, 16, 128, 16),
    "small": (100, 32, 32, 64, 32),
    "odd": (73, 19, 13, 97, 7),
    "charrnn": (50, 50, 65, 128, 65),
    "med": (100, 64, 128, 256, 128),
    "wide": (20, 256, 64, 512, 10),
    "large": (100, 64, 256, 1024, 256),
    "audio": (2048, 32, 1, 40, 1),
    "control": (128, 16, 8, 64, 1),
}


ISA_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
ISAS = {  # what the libraries call the vectors of a kernel set: the values of these variables, and XLA's flag
    "avx512": ("avx512", "AVX512_CORE", "AVX512", "SkylakeX", "AVX512"),
    "avx2": ("avx2", "AVX2", "AVX2", "Haswell", "AVX2"),
    "generic": ("default", "SSE41", "SSE4_2", "Nehalem", "SSE4_2"),
}


def limit(threads, isa):
    """Before any framework is imported: so many threads for everybody, no more processors to run on, and no vectors
    beyond the instruction set, if one is named."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    xla = [f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}", f"intra_op_parallelism_threads={threads}"]
    if isa:
        os.environ.update(zip(ISA_VARIABLES, ISAS[isa], strict=False), BPTT_ISA=isa)
        xla.append(f"--xla_cpu_max_isa={ISAS[isa][-1]}")
    os.environ["XLA_FLAGS"] = " ".join(xla)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Ours:
    name = "bptt"

    def __init__(self, np, case, threads):
        import bptt

        self.bptt = bptt
        T, B, I, H, O = case["shape"]
        options = {"cell": case["cell"], "dtype": case["dtype"], **case["inputs"]}
        self.rnn = bptt.RNN(I, H, O, **options, threads=threads)
        self.rnn.load_state_dict(case["params"])
        self.x, self.target = case["x"], case["target"]

    def step(self):
        rnn = self.rnn
        rnn.zero_grad()
        y, _ = rnn.forward(self.x)
        loss, dy = self.bptt.mse(y, self.target)
        rnn.backward(dy, input_grad=False, state_grad=False)  # nor do the peers
        return loss

    def gradients(self):
        self.step()
        return self.rnn.grad_views()


class NumPy:
    """The loop that people write: one product per step, everything that can be one product outside the loop."""

    name = "numpy"

    def __init__(self, np, case, threads):
        self.np, self.p = np, case["params"]
        self.x, self.target, self.shape = case["x"], case["target"], case["shape"]

    def step(self):
        self.gradients()

    def gradients(self):
        np, p, (T, B, I, H, O) = self.np, self.p, self.shape
        rows = T * B
        h = np.zeros((T + 1, B, H), self.x.dtype)
        z = self.x.reshape(rows, I) @ p["weight_ih_l0"].T + (p["bias_ih_l0"] + p["bias_hh_l0"])
        z = z.reshape(T, B, H)
        w = p["weight_hh_l0"]
        for t in range(T):
            h[t + 1] = np.tanh(z[t] + h[t] @ w.T)
        flat = h[1:].reshape(rows, H)
        error = flat @ p["weight_ho"].T + p["bias_o"] - self.target.reshape(rows, O)
        dy = error * (2 / error.size)
        dz = (dy @ p["weight_ho"]).reshape(T, B, H)
        flow = 0
        for t in reversed(range(T)):
            dz[t] = (dz[t] + flow) * (1 - h[t + 1] * h[t + 1])
            flow = dz[t] @ w
        dz = dz.reshape(rows, H)
        bias = dz.sum(0)
        return {
            "weight_ih_l0": dz.T @ self.x.reshape(rows, I),
            "weight_hh_l0": dz.T @ h[:-1].reshape(rows, H),
            "bias_ih_l0": bias,
            "bias_hh_l0": bias,
            "weight_ho": dy.T @ flat,
            "bias_o": dy.sum(0),
        }


class Torch:
    name = "torch"

    def __init__(self, np, case, threads):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        T, B, I, H, O = case["shape"]
        dtype = getattr(torch, case["dtype"])
        gated = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(case["cell"])
        self.rnn = gated(I, H, dtype=dtype) if gated else torch.nn.RNN(I, H, nonlinearity=case["cell"], dtype=dtype)
        self.linear = torch.nn.Linear(H, O, dtype=dtype)
        self.one_hot, V = case["inputs"].get("one_hot"), case["inputs"].get("num_embeddings")
        self.table = torch.nn.Embedding(V, I, dtype=dtype) if V else None
        with torch.no_grad():
            for name, p in self.parameters().items():
                p.copy_(torch.tensor(case["params"][name]))
        self.x, self.target = torch.tensor(case["x"]), torch.tensor(case["target"])
        self.params = [*self.parameters().values()]

    def parameters(self):
        readout = {"weight_ho": self.linear.weight, "bias_o": self.linear.bias}
        return dict(self.rnn.named_parameters()) | readout | ({"embedding": self.table.weight} if self.table else {})

    def step(self):
        for param in self.params:
            param.grad = None
        x = self.x
        if self.one_hot:
            x = self.torch.nn.functional.one_hot(x, self.rnn.input_size).to(self.target.dtype)
        h, _ = self.rnn(self.table(x) if self.table else x)
        loss = self.torch.nn.functional.mse_loss(self.linear(h), self.target)
        loss.backward()
        return loss.item()

    def gradients(self):
        self.step()
        return {name: p.grad.numpy() for name, p in self.parameters().items()}


class Jax:
    """lax.scan under jit, the product with the inputs and the readout outside the scan."""

    name = "jax"

    def __init__(self, np, case, threads):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", case["dtype"] == "float64")
        self.jax, cell = jax, case["cell"]
        f = {"tanh": jnp.tanh, "relu": jax.nn.relu}.get(cell)

        def vanilla(w, bias, h, z):
            h = f(z + h @ w)
            return h, h

        def lstm(w, bias, state, z):
            h, c = state
            i, forget, g, o = jnp.split(z + h @ w, 4, axis=-1)
            c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        def gru(w, bias, h, z):
            zr, zz, zn = jnp.split(z, 3, axis=-1)
            hr, hz, hn = jnp.split(h @ w + bias, 3, axis=-1)
            update = jax.nn.sigmoid(zz + hz)
            new = jnp.tanh(zn + jax.nn.sigmoid(zr + hr) * hn)
            h = (1 - update) * new + update * h
            return h, h

        step = {"lstm": lstm, "gru": gru}.get(cell, vanilla)
        one_hot = case["inputs"].get("one_hot")

        def product(p, x):
            w = p["weight_ih_l0"].T
            if one_hot:
                return w[x]
            return (p["embedding"][x] if "embedding" in p else x) @ w

        def loss(p, x, target):
            bias = p["bias_ih_l0"] + (0 if cell == "gru" else p["bias_hh_l0"])
            z = product(p, x) + bias
            zeros = jnp.zeros((z.shape[1], p["weight_hh_l0"].shape[1]), z.dtype)
            start = (zeros, zeros) if cell == "lstm" else zeros
            _, h = jax.lax.scan(lambda s, z: step(p["weight_hh_l0"].T, p["bias_hh_l0"], s, z), start, z)
            return jnp.mean((h @ p["weight_ho"].T + p["bias_o"] - target) ** 2)

        self.function = jax.jit(jax.value_and_grad(loss))
        self.p = {name: jnp.asarray(value) for name, value in case["params"].items()}
        self.x, self.target = jnp.asarray(case["x"]), jnp.asarray(case["target"])

    def step(self):
        value, g = self.function(self.p, self.x, self.target)
        self.jax.block_until_ready(g)
        return float(value)

    def gradients(self):
        return self.function(self.p, self.x, self.target)[1]


def make_case(np, shape, dtype, cell, **inputs):
    """inputs: options of bptt.RNN that have x hold integers."""
    import bptt

    T, B, I, H, O = shape
    rng = np.random.default_rng(0)
    params = bptt.RNN(I, H, O, cell=cell, dtype=dtype, seed=0, **inputs).state_dict()
    x, target = (rng.normal(size=(T, B, n)).astype(dtype) for n in (I, O))
    if inputs:
        x = rng.integers(inputs.get("num_embeddings") or I, size=(T, B))
    case = {"shape": shape, "dtype": dtype, "cell": cell, "inputs": inputs}
    return case | {"params": params, "x": x, "target": target}


def flops(shape, cell):
    """Multiplications and additions of the products: forward, and backward without the gradient by x."""
    T, B, I, H, O = shape
    G = {"lstm": 4, "gru": 3}.get(cell, 1)
    return 2 * T * B * H * ((G * (I + H) + O) + (G * (I + 2 * H) + 2 * O))


def check_same(np, contestants):
    ours = contestants[0].gradients()
    for other in contestants[1:]:
        theirs = other.gradients()
        for name, g in ours.items():
            error = np.abs(np.asarray(theirs[name]) - g).max() / np.abs(g).max()
            if not error < 1e-3:
                raise SystemExit(f"{other.name} computes another {name}: relative error {error:.2g}")


def race(contestants, seconds, after_ours=None):
    """Median seconds of a step of each. Turns are long enough that most steps find their own numbers in the caches,
    as in training, where a step follows a step."""
    times = {c.name: [] for c in contestants}
    for c in contestants:
        c.step()
        c.step()
    began = time.perf_counter()
    rounds = 0
    while rounds < 5 or time.perf_counter() - began < seconds:
        for c in contestants:
            end, least = time.perf_counter() + TURN, len(times[c.name]) + (3 if rounds else 1)
            while len(times[c.name]) < least or time.perf_counter() < end:
                start = time.perf_counter()
                c.step()
                times[c.name].append(time.perf_counter() - start)
            if c is contestants[0] and after_ours:
                after_ours()
        rounds += 1
    return {name: statistics.median(t) for name, t in times.items()}


class Peak:
    """GFLOP/s of one core in registers, with the vectors of the kernel set in use; NaN without a compiler."""

    STEPS = 200_000  # a millisecond

    def __init__(self, dtype, isa):
        width, flags = {"avx512": (64, ["-mavx512f"]), "avx2": (32, ["-mavx2", "-mfma"])}.get(isa, (16, []))
        compiler = shutil.which("cc")
        self.function, self.found = None, []
        if not compiler or platform.machine() not in ("x86_64", "AMD64"):
            return
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "peak.so"
            real = {"float32": "float", "float64": "double"}[dtype]
            source = Path(__file__).with_name("peak.c")
            subprocess.run([compiler, "-O3", "-ffp-contract=fast", "-shared", "-fPIC", *flags, f"-DREAL={real}",
                            f"-DVECTOR_BYTES={width}", source, "-o", library], check=True)  # fmt: skip
            self.function = ctypes.CDLL(library).peak
        self.function.argtypes, self.function.restype = [ctypes.c_long], ctypes.c_double

    def measure(self):
        if self.function:
            self.found.append(self.function(self.STEPS))

    def take(self):
        """The median since the last call."""
        median = statistics.median(self.found) if self.found else float("nan")
        self.found = []
        return median


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def caches():
    """The first processor's caches, as "L1 48 kB, L2 2 MB"."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        kilobytes = int(size.removesuffix("K"))
        if kind != "Instruction":
            found.append(f"L{level} {kilobytes // 1024} MB" if kilobytes >= 1024 else f"L{level} {kilobytes} kB")
    return ", ".join(found) or "unknown"


def available(names):
    found = []
    for contestant in (Torch, Jax, NumPy):
        if contestant.name in names:
            try:
                __import__(contestant.name)
            except ImportError:
                print(f"{contestant.name} is not installed: left out", file=sys.stderr)
            else:
                found.append(contestant)
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], help=f"of {', '.join(SHAPES)}; all by default")
    parser.add_argument("--peers", default="torch,jax", help="of torch, jax, numpy")
    parser.add_argument("--quick", action="store_true", help="a minute, against NumPy only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--cell", default="tanh", help="of tanh, relu, lstm, gru; several with commas")
    parser.add_argument("--isa", choices=ISAS, help="the widest vectors of all contestants")
    parser.add_argument("--seconds", type=float, help="for each shape")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(np, name, cell, peers, peak, args):
    """One row: a race at a shape."""
    case = make_case(np, SHAPES[name], args.dtype, cell)
    if cell in ("lstm", "gru"):
        peers = [peer for peer in peers if peer is not NumPy]
    contestants = [c(np, case, args.threads) for c in (Ours, *peers)]
    check_same(np, contestants)
    median = race(contestants, args.seconds or (2 if args.quick else 12), peak.measure)
    rate, reached = flops(SHAPES[name], cell) / median["bptt"] * 1e-9, peak.take()
    share = rate / (reached * args.threads)
    line = f"{name:<9}{','.join(map(str, SHAPES[name])):>20}{median['bptt'] * 1e3:>10.3f}{rate:>9.1f}{share:>9.0%}"
    line += "".join(f"{median[p.name] * 1e3:>11.3f}{median[p.name] / median['bptt']:>7.2f}" for p in peers)
    print(line, flush=True)
    row = {"cell": cell, "shape": name, "sizes": SHAPES[name], "gflops": rate, "peak": reached, "of_peak": share}
    return row | {"seconds": median}


def main():
    args = arguments()
    limit(args.threads, args.isa)
    import numpy as np

    import bptt
    from bptt import _core

    peers = available(["numpy"] if args.quick else args.peers.split(","))
    peak = Peak(args.dtype, _core.isa())
    for _ in range(20):
        peak.measure()
    highest = max(peak.found, default=float("nan"))
    print(f"bptt {bptt.__version__} ({_core.isa()}), {args.dtype}, {args.threads} thread(s)")
    print(f"{processor()}, {caches()}, load {os.getloadavg()[0]:.2f}, ", end="")
    print(f"peak of one core {highest:.0f} GFLOP/s")
    rows = []
    for cell in args.cell.split(","):
        header = f"{cell:<9}{'T,B,I,H,O':>20}{'bptt ms':>10}{'GFLOP/s':>9}{'of peak':>9}"
        print(header + "".join(f"{p.name + ' ms':>11}{'ratio':>7}" for p in peers))
        rows += [measure(np, name, cell, peers, peak, args) for name in args.shapes or SHAPES]
    if args.json:
        versions = {peer.name: sys.modules[peer.name].__version__ for peer in peers}
        run = {"processor": processor(), "caches": caches(), "isa": _core.isa(), "dtype": args.dtype, "peak": highest}
        run |= {"threads": args.threads, "versions": versions, "rows": rows}
        args.json.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
