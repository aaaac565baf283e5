"""What networks take on a Cortex-M4: flash, RAM, and instructions of a step, counted by qemu. A table in Markdown.

Needs arm-none-eabi-gcc with newlib, and qemu-system-arm: python benchmarks/firmware.py [-O2]
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bptt

FIRMWARE = Path(__file__).resolve().parents[1] / "tests" / "firmware"
M4 = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-std=c99"]
# an instruction takes 1 ns of the machine's time, its timer counts at 25 MHz
QEMU = ["qemu-system-arm", "-M", "mps2-an386", "-icount", "shift=0", "-display", "none", "-serial", "none",
        "-monitor", "none", "-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out",
        "-kernel"]  # fmt: skip
STEPS, INSTRUCTIONS_PER_TICK = 200, 40
MAIN = """
#include "model.h"
void put(const char *text);
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010;
int main(void) {
    static model_state state;
    float x[MODEL_INPUT_SIZE] = {0.5f}, y[MODEL_OUTPUT_SIZE];
    model_reset(&state);
    systick[1] = systick[2] = 0xFFFFFF;
    systick[0] = 5;
    const uint32_t start = systick[2];
    for (int t = 0; t < STEPS; t++) model_step(&state, x, y);
    uint32_t ticks = (start - systick[2]) & 0xFFFFFF;
    char text[9] = "        ";
    for (int i = 7; i >= 0; i--, ticks /= 10) text[i] = (char)('0' + ticks % 10);
    put(text);
    return 0;
}
"""


def run(command):
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


def row(folder, cell, hidden, weights, optimization):
    """The columns of a network."""
    rnn = bptt.RNN(1, hidden, 1, cell=cell, seed=0)
    files = bptt.convert.to_c(rnn, folder, weights=weights)
    (folder / "main.c").write_text(MAIN.replace("STEPS", str(STEPS)))
    flags = [*M4, optimization, f"-I{folder}"]
    run([*flags, "-c", files.source, "-o", folder / "model.o"])
    run([*flags, FIRMWARE / "start.c", folder / "main.c", folder / "model.o", "-nostartfiles", "-T",
         FIRMWARE / "board.ld", "-o", folder / "board.elf"])  # fmt: skip
    code = re.search(r"^\.text +(\d+)", run(["arm-none-eabi-size", "-A", folder / "model.o"]), re.M)[1]
    instructions = int(run([*QEMU, folder / "board.elf"])) * INSTRUCTIONS_PER_TICK / STEPS
    name = {"lstm": "LSTM", "gru": "GRU"}.get(cell, cell)
    return f"{name} {hidden}", weights, f"{files.flash:,}", f"{int(code):,}", f"{files.ram:,}", f"{instructions:,.0f}"


def main(optimization="-O2"):
    print("| network | weights | constants, bytes | code, bytes | RAM, bytes | instructions of a step |")
    print("|---|---|---|---|---|---|")
    for cell in ("tanh", "gru", "lstm"):
        for hidden in (8, 16, 32, 64):
            for weights in ("float32", "int8"):
                with tempfile.TemporaryDirectory() as folder:
                    print(f"| {' | '.join(row(Path(folder), cell, hidden, weights, optimization))} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
