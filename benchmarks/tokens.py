"""Training steps on integers: against the same network on real numbers, and beside torch and jax, on one thread.

A step is forward, mean squared error and backward. That of torch and of jax makes the gradients anew, so they are
compared with ours and its zero_grad. The optimiser is apart: zero_grad and Adam go over the whole table, whose size
grows with V, the rest of a step does not. On real numbers the network is timed without the gradient by its inputs and
with it, which a table needs for its rows. All steps of a row take turns of a fifth of a second, see train_step.py,
which also checks that the gradients are the same.

    python benchmarks/tokens.py [--threads N] [--dtype float64] [--cell tanh,lstm,gru] [--isa avx2] [--peers torch,jax]
"""

import argparse

from train_step import ISAS, Jax, Ours, Torch, available, check_same, limit, make_case, processor, race

T, B, H, O = 50, 50, 128, 65
CASES = {  # name: (the columns of an input, options for integers)
    "one_hot": (65, {"one_hot": True}),
    "embedding": (65, {"num_embeddings": 65}),
    "large table": (128, {"num_embeddings": 10_000}),
}


class Part:
    """A function that takes part in a race."""

    def __init__(self, name, step):
        self.name, self.step = name, step


def without_zero_grad(contestant, input_grad=False):
    """A step of ours that adds to the gradients."""
    rnn, x, target, mse = contestant.rnn, contestant.x, contestant.target, contestant.bptt.mse

    def step():
        y, _ = rnn.forward(x)
        rnn.backward(mse(y, target)[1], input_grad=input_grad, state_grad=False)

    return step


def measure(np, name, cell, peers, args):
    """A line of the table: median milliseconds."""
    I, inputs = CASES[name]
    case = make_case(np, (T, B, I, H, O), args.dtype, cell, **inputs)
    plain = make_case(np, (T, B, I, H, O), args.dtype, cell)
    if "one_hot" in inputs:
        plain["x"] = np.eye(I, dtype=args.dtype)[case["x"]]
    ours, others = Ours(np, case, args.threads), [peer(np, case, args.threads) for peer in peers]
    check_same(np, [ours, *others])
    adam = ours.bptt.Adam(ours.rnn.params, ours.rnn.grads, lr=1e-9)
    parts = [Part("integers", without_zero_grad(ours)), Part("zero_grad", ours.rnn.zero_grad), Part("adam", adam.step)]
    real = Ours(np, plain, args.threads)
    parts += [Part("real", without_zero_grad(real)), Part("real, dx", without_zero_grad(real, input_grad=True))]
    median = {part: 1e3 * seconds for part, seconds in race([*parts, *others], args.seconds).items()}
    whole = median["integers"] + median["zero_grad"]
    shape = f"{T},{B},{inputs.get('num_embeddings', I)},{I},{H},{O}"
    line = f"{name:<13}{cell:<6}{shape:>22}{median['integers']:>10.3f}"
    line += "".join(f"{median[p]:>10.3f}{median['integers'] / median[p]:>7.2f}" for p in ("real", "real, dx"))
    line += f"{median['zero_grad']:>11.3f}{median['adam']:>8.3f}"
    print(line + "".join(f"{median[p.name]:>11.3f}{median[p.name] / whole:>7.2f}" for p in others), flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="torch,jax", help="of torch, jax")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--cell", default="tanh,lstm,gru", help="of tanh, relu, lstm, gru; several with commas")
    parser.add_argument("--case", default=",".join(CASES), help="several with commas (default: %(default)s)")
    parser.add_argument("--isa", choices=ISAS, help="the widest vectors of all contestants")
    parser.add_argument("--seconds", type=float, default=8, help="for each line")
    return parser.parse_args()


def main():
    args = arguments()
    limit(args.threads, args.isa)
    import numpy as np

    import bptt
    from bptt import _core

    peers = [peer for peer in available(args.peers.split(",")) if peer in (Torch, Jax)]
    print(f"bptt {bptt.__version__} ({_core.isa()}), {args.dtype}, {args.threads} thread(s), {processor()}")
    print("medians in ms; ratio: to the step on real numbers, of a peer to ours with zero_grad")
    print(f"{'':<19}{'T,B,V,I,H,O':>22}{'integers':>10}{'real':>10}{'ratio':>7}{'real, dx':>10}{'ratio':>7}", end="")
    print(f"{'zero_grad':>11}{'Adam':>8}", end="")
    print("".join(f"{peer.name:>11}{'ratio':>7}" for peer in peers))
    for cell in args.cell.split(","):
        for name in args.case.split(","):
            measure(np, name, cell, peers, args)


if __name__ == "__main__":
    main()
