"""A step of a stream from C: LSTM and GRU, batch 1, one input, one output, ns of a sample, alone or beside peers.

step.c is compiled and linked with the archive of the installed package. It says what a peer is: a shared library that
opens RTNeural's JSON. Of several peers the fastest counts at each size. The outputs are compared first.

    python benchmarks/step.py [--peer LIBRARY.so]... [--isa avx2] [--cell lstm,gru] [--sizes 8,40] [--seconds 1.5]
                              [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from train_step import processor

import bptt

SIZES = (8, 16, 20, 32, 40, 64, 80, 128)
MOST_DIFFERENCE = 1e-4  # of outputs: exp and tanh of some peers are approximations


def sizes(text):
    return [int(size) for size in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="append", default=[], type=Path, help="a shared library, see step.c")
    parser.add_argument("--isa", help="hold bptt to a kernel set; the peers are as they were compiled")
    parser.add_argument("--cell", default="lstm,gru")
    parser.add_argument("--sizes", type=sizes, default=SIZES, metavar="H,...")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each cell and size")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def compile_program(folder):
    target = folder / "step"
    archive = Path(bptt.get_lib_dir()) / "libbptt.a"
    flags = ["-O3", "-std=c11", f"-I{bptt.get_include()}"]
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", *flags, source, archive, "-lm", "-pthread", "-ldl", "-o", target], check=True)
    return target


def measure(program, cell, size, args):
    """One row for each contestant, ours first: name, ns, median and least ratio, largest difference."""
    params, model = program.with_name("params"), program.with_name("model.json")
    try:
        rnn = bptt.RNN(1, size, 1, cell=cell, seed=size)
        bptt.convert.to_rtneural(rnn, model)
    except ValueError as error:
        sys.exit(f"{program.name}: {error}")
    rnn.params.tofile(params)
    env = os.environ | ({"BPTT_ISA": args.isa} if args.isa else {})
    command = [program, cell, str(size), params, model, str(args.seconds), *(peer.resolve() for peer in args.peer)]
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"{program.name} ended with {run.returncode}")
    keys = ("ns", "median", "least", "difference")
    rows = [line.split() for line in run.stdout.splitlines()]
    return [{"name": name} | dict(zip(keys, map(float, numbers), strict=True)) for name, *numbers in rows]


def line_of(cell, size, found):
    """A line of the table, and an error if a peer computes something else."""
    ours, *peers = found
    line = f"{cell:<5}{size:>5}{ours['ns']:>9.0f}"
    for peer in peers:
        if not peer["difference"] <= MOST_DIFFERENCE:
            raise SystemExit(f"{peer['name']} differs by {peer['difference']} for {cell} {size}")
        line += f"{peer['ns']:>28.0f}"
    if peers:
        best = min(peers, key=lambda peer: peer["ns"])
        line += f"{best['median']:>9.2f}{best['least']:>7.2f}{max(peer['difference'] for peer in peers):>10.1e}"
    return line


def main():
    args = arguments()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(Path(folder))
        for cell in args.cell.split(","):
            for size in args.sizes:
                found = measure(program, cell, size, args)
                if not rows:
                    print(
                        f"bptt {bptt.__version__} ({found[0]['name']}), {processor()}; ns of a sample, ours / the best"
                    )
                    names = "".join(f"{peer['name']:>28}" for peer in found[1:])
                    print(f"{'':<10}{'bptt':>9}{names}" + f"{'median':>9}{'least':>7}{'differ by':>10}" * bool(names))
                print(line_of(cell, size, found), flush=True)
                rows.append({"cell": cell, "size": size, "contestants": found})
    if args.json:
        args.json.write_text(json.dumps({"processor": processor(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
