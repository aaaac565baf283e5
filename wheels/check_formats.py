"""Checks files of to_rtneural and to_nam against the programs that such files are made for:

    python wheels/check_formats.py rtneural PROGRAM [--networks 200] [--steps 1000]
    python wheels/check_formats.py nam PROGRAM

PROGRAM is built outside this repository with RTNeural's run-time loader or with NeuralAmpModelerCore. It begins at the
model's initial state, without silence before it, and is used as

    PROGRAM MODEL <x >y

x (T,I) and y (T,O) are raw float32. The outputs must be those of the stream within 1e-5 of the largest, for networks
drawn, some with several layers, inputs and outputs."""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import bptt

TOLERANCE = 1e-5
HIDDEN = (1, 3, 8, 13, 16, 20, 32, 40, 64, 80, 128)


def draw(rng, kind):
    """A random network that the format holds."""
    options = {"cell": "lstm", "learn_state": bool(rng.integers(2))} if kind == "nam" else {}
    options = options or {"cell": str(rng.choice(["lstm", "gru"]))}
    I, O = (int(rng.choice([1, 1, 2, 5])) for _ in range(2))
    rnn = bptt.RNN(I, int(rng.choice(HIDDEN)), O, num_layers=int(rng.choice([1, 1, 2, 3])), threads=1,
                   bias=bool(rng.integers(4)), seed=int(rng.integers(2**32)), **options)  # fmt: skip
    rnn.params *= rng.choice([0.5, 1, 1.5, 2])  # above that networks are chaotic: roundings grow
    if rnn.learn_state:
        for name in ("state_h0", "state_c0"):
            view = rnn.param_views()[name]
            view[...] = rng.uniform(-1, 1, view.shape)
    return rnn


def by_program(program, model, x):
    run = subprocess.run([program, model], input=x.tobytes(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(run.stdout, np.float32)


def by_stream(rnn, x):
    stream = rnn.stream()
    return np.stack([stream(row) for row in x])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=["rtneural", "nam"])
    parser.add_argument("program", type=Path)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    write, read = (getattr(bptt.convert, f"{way}_{args.format}") for way in ("to", "from"))
    rng = np.random.default_rng(0)
    worst, network = 0.0, None
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        for _ in range(args.networks):
            rnn = draw(rng, args.format)
            x = rng.normal(0, 0.5, (args.steps, rnn.input_size)).astype(np.float32)
            write(rnn, model)
            expected = by_stream(rnn, x)
            np.testing.assert_allclose(by_stream(read(model), x), expected, atol=TOLERANCE * abs(expected).max())
            found = by_program(args.program.resolve(), model, x).reshape(expected.shape)
            error = abs(found - expected).max() / abs(expected).max()
            if not error <= TOLERANCE:
                raise SystemExit(f"{rnn} differs by {error:.2g} of its largest output")
            worst, network = max((worst, network), (error, str(rnn)), key=lambda pair: pair[0])
    print(f"{args.networks} networks, {args.steps} steps each: the largest difference is {worst:.1e}, of {network}")


if __name__ == "__main__":
    main()
