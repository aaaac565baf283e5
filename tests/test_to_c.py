"""bptt.convert.to_c: what it writes is the network's stream, compiled by any compiler that is there.

export_many.py has the networks, and compares hundreds of random ones.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import accuracy
import numpy as np
import pytest
import test_docs
from cases import CELLS, case_id, covering
from export_many import (
    INPUTS,
    STRICT,
    TOLERANCE,
    compiled,
    compiler,
    contracting,
    error,
    exported,
    random_inputs,
    streamed,
)
from test_link import output

from bptt import RNN
from bptt.convert import to_c

pytestmark = pytest.mark.skipif(os.name == "nt" or not compiler(), reason="needs a POSIX C compiler")

FIRMWARE = Path(__file__).parent / "firmware"
OPTIONS = {
    "cell": list(CELLS),
    "inputs": list(INPUTS),
    "output_size": [2, None],
    "num_layers": [1, 3],
    "bias": [True, False],
    "learn_state": [False, True],
}
CASES = covering(OPTIONS, alone=False)
each_case = pytest.mark.parametrize("case", range(len(CASES)), ids=[case_id(case) for case in CASES])


def network(cell="tanh", inputs="numbers", seed=0, **options):
    return contracting(seed, hidden_size=9, **INPUTS[inputs](6), **CELLS[cell], **options)


class Built(NamedTuple):
    """All cases, compiled into one library: floats[i] and int8s[i] are case i with these weights."""

    folder: Path
    library: ctypes.CDLL
    floats: list
    int8s: list

    @property
    def exports(self):
        return [*self.floats, *self.int8s]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("to_c")
    networks = [network(**case, seed=i) for i, case in enumerate(CASES)]
    floats, int8s = (
        exported({f"{weights}_{i}": rnn for i, rnn in enumerate(networks)}, folder, weights=weights)
        for weights in ("float32", "int8")
    )
    return Built(folder, compiled(floats + int8s, folder, flags=["-O1"]), floats, int8s)


# ---- values ----------------------------------------------------------------------------------------------


@each_case
def test_steps_are_those_of_a_stream(built, rng, case):
    export = built.floats[case]
    assert error(export, built.library, random_inputs(export.rnn, rng)) <= TOLERANCE


def test_a_float64_network_is_rounded(tmp_path, rng):
    rnn = network("lstm", dtype="float64", output_size=1)
    (export,) = exports = exported({"n": rnn}, tmp_path)
    assert error(export, compiled(exports, tmp_path), random_inputs(rnn, rng, 1000)) <= TOLERANCE


def check_error(files, export, built, x, sequence):
    """The error of int8 weights is that of the two C programs, and the header says so."""
    exact, y = (one.run(built.library, x) for one in (built.floats[built.int8s.index(export)], export))
    size = np.abs(exact).max()
    assert abs(files.error - np.abs(y - exact).max()) <= 4e-6 * size
    assert 0 < files.error < 0.1 * size
    text = " ".join(Path(files.header).read_text().replace("\n *", " ").split())
    assert f"Over a {sequence} outputs differ from those of float32 weights by at most {files.error:.3g} (" in text


@each_case
def test_the_error_of_int8_is_the_one_that_it_says(built, case):
    export, drawn = built.int8s[case], np.random.default_rng(0)
    if V := export.rnn.spec.vocabulary:
        x = drawn.integers(V, size=1000).astype(np.int32)
    else:
        x = drawn.normal(size=(1000, export.rnn.input_size)).astype(np.float32)
    check_error(export.files, export, built, x, "random sequence of 1000 steps")
    assert export.files.flash < built.floats[case].files.flash


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_error_of_int8_on_inputs_that_are_given(built, tmp_path, rng, inputs):
    export = next(e for e, case in zip(built.int8s, CASES, strict=True) if case["inputs"] == inputs)
    x = random_inputs(export.rnn, rng, 300)
    check_error(to_c(export.rnn, tmp_path, weights="int8", x=x), export, built, x, "given sequence of 300 steps")


def test_int8_of_rows_of_zeros_and_of_small_rows(tmp_path):
    rnn = network("gru", output_size=2)
    views = rnn.param_views()
    views["weight_hh_l0"][::2] = 0
    views["weight_hh_l0"][1] = np.float32(1e-44)  # subnormal
    x = np.ones((50, 6), np.float32)
    (export,) = exports = exported({"n": rnn}, tmp_path, weights="int8", x=x)
    assert np.abs(export.run(compiled(exports, tmp_path), x) - rnn.forward(x)[0]).max() <= export.files.error + 1e-6


def test_weights_keep_their_bits(tmp_path):
    """Those that are read from the text by a compiler, the smallest and the largest among them."""
    rnn = network("identity", bias=False)
    weights, bits = (
        rnn.param_views()["weight_hh_l0"],
        np.random.default_rng(0).integers(2**32, size=81, dtype=np.uint32),
    )
    drawn = bits.view(np.float32)
    weights.flat = np.where(np.isfinite(drawn), drawn, 1.0)
    limits = np.finfo(np.float32)
    weights[0, :6] = 0.0, -0.0, limits.smallest_subnormal, -limits.tiny, limits.max, -limits.max
    exports = exported({"n": rnn}, tmp_path)
    get = "const float *weights(void);\nconst float *weights(void) { return n_weight_hh_l0; }"
    library = compiled(exports, tmp_path, get)
    library.weights.restype = ctypes.POINTER(ctypes.c_float * 81)
    read = np.frombuffer(library.weights().contents, np.uint32).reshape(9, 9)
    np.testing.assert_array_equal(read, weights.T.view(np.uint32))


def test_tanh_and_the_logistic_function_are_as_exact_as_their_comments_say(tmp_path):
    """Everywhere, and where a compiler contracts to a*b+c, if the processor has that."""
    exports = exported({"n": network("lstm")}, tmp_path)
    each = "void FN(const float *x, size_t n, float *y);\nvoid FN(const float *x, size_t n, float *y) {\n" \
           "    for (size_t i = 0; i < n; i++) y[i] = n_FN(x[i]);\n}"  # fmt: skip
    more = [each.replace("FN", name) for name in ("tanh", "logistic")]
    source = Path(exports[0].files.source).read_text()
    x = accuracy.sweep("float32")
    library = compiled(exports, tmp_path, *more, flags=["-O2", "-fno-builtin", "-march=native"])
    for function, cell, least in (("tanh", "tanh", -np.inf), ("logistic", "sigmoid", -87)):
        y, inside = np.empty_like(x), x >= least
        getattr(library, function)(
            ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(x.size), ctypes.c_void_p(y.ctypes.data)
        )
        off = accuracy.ulps_off(y, accuracy.exact_values(cell, x))[inside].max()
        said = int(
            re.search(rf"Within (\d+) units in the last place.*\n(?:.*\n)?static float n_{function}\(", source)[1]
        )
        assert said - 1 < off <= said
        assert (np.abs(y) <= 1).all()
    for name in ("tanh", "logistic"):
        x = np.array([np.nan, np.inf, -np.inf], np.float32)
        y = np.empty_like(x)
        getattr(library, name)(ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(3), ctypes.c_void_p(y.ctypes.data))
        np.testing.assert_array_equal(y[:2], [np.nan, 1])
        assert y[2] == -1 if name == "tanh" else 0 < y[2] < 1e-37


def test_nan_passes_through(tmp_path):
    networks = {f"n{i}": network(cell, bias=False) for i, cell in enumerate(CELLS)}
    exports = exported(networks, tmp_path)
    library = compiled(exports, tmp_path, flags=["-O1"])
    x = np.ones((2, 6), np.float32)
    x[0, 3] = np.nan
    for export in exports:
        assert np.isnan(export.run(library, x)).all()


# whether NAME_step refuses a token and leaves the state and the outputs of a step before as they were
REFUSES = """
int NAME_refuses(int32_t token);
int NAME_refuses(int32_t token) {
    static NAME_state state, before;
    static float y[9], y_before[9];
    NAME_reset(&state);
    if (NAME_step(&state, 3, y) != 0) return 0;
    before = state;
    memcpy(y_before, y, sizeof y);
    const int status = NAME_step(&state, token, y);
    return status == -1 && !memcmp(&before, &state, sizeof state) && !memcmp(y, y_before, sizeof y);
}
"""


def test_an_integer_out_of_range_changes_nothing(tmp_path):
    names = {name: network("lstm", name) for name in ("one-hot", "embedding")}
    exports = [
        export
        for weights in ("float32", "int8")
        for export in exported({f"{name[:3]}_{weights}": rnn for name, rnn in names.items()}, tmp_path, weights=weights)
    ]
    library = compiled(exports, tmp_path, *(REFUSES.replace("NAME", export.name) for export in exports), flags=["-O1"])
    for export in exports:
        refuses = getattr(library, f"{export.name}_refuses")
        assert all(refuses(token) for token in (-1, 6, 7, 2**31 - 1, -(2**31)))
        assert not refuses(5)
        assert not refuses(0)


def test_outputs_may_take_the_place_of_inputs(tmp_path):
    rnn = network("gru", output_size=6)
    exports = exported({"n": rnn}, tmp_path)
    more = """void in_place(float *x);
    void in_place(float *x) {
        n_state state;
        n_reset(&state);
        n_step(&state, x, x);
    }"""
    x = np.arange(6, dtype=np.float32)
    y = rnn.stream()(x)
    compiled(exports, tmp_path, more).in_place(ctypes.c_void_p(x.ctypes.data))
    np.testing.assert_allclose(x, y, atol=1e-6)


# ---- files -----------------------------------------------------------------------------------------------


def test_the_same_network_gives_the_same_files(tmp_path):
    texts = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        files = to_c(network("lstm"), tmp_path / folder, "net", weights="int8")
        assert files[:2] == (str(tmp_path / folder / "net.h"), str(tmp_path / folder / "net.c"))
        texts.append([Path(path).read_bytes() for path in files[:2]])
    assert texts[0] == texts[1]
    assert all(max(map(len, text.decode().splitlines())) <= 120 for text in texts[0])


def test_names_of_several_networks_do_not_collide(tmp_path):
    """Also those that have the words of the pieces in them."""
    networks = {
        name: network("gru", output_size=1) for name in ("model", "scale_a", "layer", "x", "MODEL_h", "Weight2_ih")
    }
    exports = exported(networks, tmp_path)
    library, x = compiled(exports, tmp_path, flags=["-O1"]), np.ones((3, 6), np.float32)
    for export in exports:
        np.testing.assert_array_equal(export.run(library, x), exports[0].run(library, x))


def test_header_and_source_of_two_networks_do_not_go_together(tmp_path):
    to_c(network(seed=1), tmp_path, "n")
    source = (tmp_path / "n.c").read_text()
    to_c(network(seed=2), tmp_path, "n")
    (tmp_path / "n.c").write_text(source)
    with pytest.raises(AssertionError, match=r'error "n\.h is that of another network'):
        output([compiler(), "-c", tmp_path / "n.c", "-o", tmp_path / "n.o"])


def test_an_error_leaves_the_files(tmp_path):
    to_c(network(), tmp_path)
    before = [(tmp_path / f"model.{end}").read_bytes() for end in "hc"]
    rnn = network(seed=1)
    rnn.params[7] = np.inf
    with pytest.raises(ValueError, match="finite in float32, got inf in weight_ih_l0"):
        to_c(rnn, tmp_path)
    assert [(tmp_path / f"model.{end}").read_bytes() for end in "hc"] == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_source_that_cannot_be_written_leaves_the_header(tmp_path):
    to_c(network(), tmp_path)
    header = (tmp_path / "model.h").read_bytes()
    (tmp_path / "model.c").unlink()
    (tmp_path / "model.c").mkdir()
    with pytest.raises(IsADirectoryError, match=r"model\.c"):
        to_c(network(seed=1), tmp_path)
    assert (tmp_path / "model.h").read_bytes() == header
    assert len(list(tmp_path.iterdir())) == 2


def test_the_printed_form_says_what_it_takes(tmp_path):
    files = to_c(network("lstm"), tmp_path)
    # 4*9 sums of 6+9 weights and a bias, one layer of four pointers or sizes; h, c and the sums
    assert files.flash == 4 * 36 * (6 + 9 + 1) + 4 * 4
    assert files.ram == 4 * (9 + 9 + 36)
    assert str(files).endswith("model.c: 2,320 bytes of flash and below 3 kB for the code, 216 bytes of RAM")
    assert files.error is None
    text = (tmp_path / "model.h").read_text()
    assert "flash  2,320 bytes of constants" in text
    assert "RAM    216 bytes" in text


# ---- compilers -------------------------------------------------------------------------------------------

M4 = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
BOARD = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-serial", "none", "-monitor", "none", "-chardev",
         "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out", "-kernel"]  # fmt: skip
ZIG = [sys.executable, "-m", "ziglang"]
WARNINGS = [*STRICT, "-Wsign-conversion", "-Wundef", "-Wcast-qual"]
COMPILERS = {
    "gcc": ["gcc", "-std=c99", "-fsyntax-only"],
    "clang": ["clang", "-std=c99", "-fsyntax-only"],
    "g++": ["g++", "-xc++", "-std=c++17", "-fsyntax-only"],
    "clang++": ["clang++", "-xc++", "-std=c++17", "-fsyntax-only"],
    "Cortex-M4": [*M4, "-std=c99", "-fsyntax-only"],
    "aarch64 gcc": ["aarch64-linux-gnu-gcc", "-std=c99", "-fsyntax-only"],
    "aarch64 zig": [*ZIG, "cc", "-target", "aarch64-linux-musl", "-std=c99", "-O1", "-c", "-o", os.devnull],
}


def there(command):
    """The command, where this machine has it; otherwise the test is skipped."""
    if command[:3] == ZIG and not importlib.util.find_spec("ziglang"):
        pytest.skip("needs ziglang")
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")
    if command[0] == M4[0]:
        plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        if subprocess.run(
            [*M4, "-E", "-xc", "-"], input=b"#include <string.h>\n", env=plain, capture_output=True
        ).returncode:
            pytest.skip("needs the headers of newlib for arm-none-eabi-gcc")
    return command


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * ("zig" in name)) for name in COMPILERS])
def test_compiles_without_a_warning(built, name):
    """What optimisation warns of is an error when `built` is compiled."""
    command, *flags = there(COMPILERS[name])
    output([command, *flags, *WARNINGS, built.folder / "all.c"])


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_the_line_of_the_page_compiles_without_a_warning(tmp_path, weights):
    """-O3: GCC unrolls the loops, and warns of steps that it believes to be possible."""
    to_c(RNN(1, 16, 1, cell="gru", seed=0), tmp_path, "gear", weights=weights)
    (gcc,) = there(["gcc"])
    output([gcc, "-O3", "-Werror", "-c", tmp_path / "gear.c", "-o", os.devnull])


# prints a hash of each network's outputs
MAIN = """
void put(const char *text);
static void report(const float *y, size_t n) { /* FNV-1a of the bits */
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, y + i, sizeof bits);
        hash = (hash ^ bits) * 16777619u;
    }
    char text[10] = "        \\n";
    for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[hash >> (28 - 4 * i) & 15];
    put(text);
}
int main(void) {
    static float x[500 * 6], y[500 * 9];
    static int32_t tokens[500];
    for (int i = 0; i < 500 * 6; i++) x[i] = (float)(i * 37 % 101 - 50) / 32.0f;
    for (int i = 0; i < 500; i++) tokens[i] = i * 37 % 101 % 6;
    RUNS
    return 0;
}
"""
PUT = "#include <stdio.h>\nvoid put(const char *text);\nvoid put(const char *text) { fputs(text, stdout); }\n"


@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc")
def test_the_program_of_the_documentation(tmp_path):
    """By its lines for the shell, with a network of the same sizes."""
    page = "docs/tutorials/firmware.md"
    ((name, source, (lines,)),) = test_docs.programs(page)
    (tmp_path / name).write_text(source)
    rnn = contracting(0, input_size=1, hidden_size=16, output_size=1, cell="gru")
    to_c(rnn, tmp_path, "gear")
    printed = output(["sh", "-e", "-c", lines], cwd=tmp_path)
    given = np.array(re.search(r"printf '(.*)' ", lines)[1].split(r"\n")[:-1], np.float32)
    np.testing.assert_allclose(np.array(printed.split(), float), streamed(rnn, given[:, None])[:, 0], atol=2e-6)
    for flag in ("-std=c99", "-xc++"):
        output([compiler(), flag, *STRICT, "-fsyntax-only", name], cwd=tmp_path)


@pytest.mark.parametrize("inputs", ["numbers", "one-hot"])
def test_the_example_in_the_header(tmp_path, inputs):
    """It compiles as it stands, before functions that read and write."""
    files = to_c(network(inputs=inputs), tmp_path)
    comment = re.search(r"^ \*     #include.*?^ \*     \}$", Path(files.header).read_text(), re.S | re.M)[0]
    example = re.sub(r"^ \*     ", "", comment, flags=re.M)
    functions = """#include <stdint.h>
    int read_inputs(float *x); int read_token(int32_t *token); void write_outputs(const float *y);
    int read_inputs(float *x) { return x[0] = 1, 0; }
    int read_token(int32_t *token) { return *token = 1, 0; }
    void write_outputs(const float *y) { (void)y; }
    """
    (tmp_path / "main.c").write_text(functions + example)
    output([compiler(), "-std=c99", *STRICT, "main.c", files.source, "-o", "example"], cwd=tmp_path)
    output([tmp_path / "example"])


PROCESSORS = {  # (compiler, what makes programs of C files, what runs one)
    "Cortex-M4": (M4, [FIRMWARE / "start.c", "-nostartfiles", "-T", FIRMWARE / "board.ld"], BOARD),
    "aarch64": ([*ZIG, "cc", "-target", "aarch64-linux-musl"], ["put.c"], ["qemu-aarch64-static"]),
}


@pytest.mark.parametrize("processor", ["Cortex-M4", pytest.param("aarch64", marks=pytest.mark.slow)])
def test_other_processors_get_the_same_bits(built, tmp_path, processor):
    """Under qemu, where no compiler contracts a*b+c to one instruction."""
    cross, files, runner = PROCESSORS[processor]
    there(cross), there(runner)
    exports = built.exports[::5]
    runs = [
        f"{e.name}_run({'tokens' if e.rnn.spec.vocabulary else 'x'}, 500, y), report(y, 500 * {e.outputs});"
        for e in exports
    ]
    main = MAIN.replace("RUNS", "\n    ".join(runs))
    (tmp_path / "main.c").write_text("\n".join([*(e.source() for e in exports), main]))
    (tmp_path / "put.c").write_text(PUT)
    flags = ["-std=c99", "-O2", "-ffp-contract=off", f"-I{built.folder}", "main.c"]
    output([compiler(), *flags, "put.c", "-o", "here"], cwd=tmp_path)
    output([*cross, *flags, *files, "-o", "there"], cwd=tmp_path)
    printed = output([*runner, tmp_path / "there"])
    assert printed == output([tmp_path / "here"])
    assert len(set(printed.split())) == len(exports)


@pytest.mark.parametrize("optimization", ["-Os", "-O2"])
def test_flash_and_stack_are_what_it_says(built, tmp_path, optimization):
    """By arm-none-eabi-size. (That the state has the bytes that it says is checked wherever a network is compiled.)"""
    there(M4)
    exports = built.exports[::11]
    objects = [f"{export.name}.o" for export in exports]
    sources = [export.files.source for export in exports]
    output([*M4, "-std=c99", optimization, "-fstack-usage", "-c", *sources], cwd=tmp_path)
    texts = output(["arm-none-eabi-size", "-A", *objects], cwd=tmp_path).strip().split("\n\n\n")
    for export, text in zip(exports, texts, strict=True):
        sizes = dict(re.findall(r"^(\.\w+) +(\d+)", text, re.M))
        layers = export.rnn.num_layers
        least, most = export.files.flash - layers * 4 * 8, export.files.flash + layers * 4 * 8  # the table; padding
        assert least <= int(sizes[".rodata"]) <= most
        assert 0 < int(sizes[".text"]) <= 3000
        assert sizes[".data"] == sizes[".bss"] == "0"
        stack = re.findall(r"\t(\d+)\t", (tmp_path / f"{export.name}.su").read_text())
        assert 0 < sum(map(int, stack)) < 256  # even if all functions called each other
