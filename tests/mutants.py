"""Mutants of the core: python tests/mutants.py [COUNT] [SEED] [FILE...]

Makes COUNT small faults (mutant_changes.py) in the files of csrc/, or in those named, one at a time: of each file at
least one, otherwise as many as its share of the lines. Each is compiled and run against the C programs of tests/c, and,
if these pass, against some Python tests. Those that no test notices are printed. The exit code is 1 if fewer than LEAST
percent were noticed.

A change that gives the same object code is no mutant, and another is drawn. equivalent.toml beside this script lists,
with reasons, changes that no test can notice; they do not count either. It names them by the text of the line before
and after, as they are printed here.

A mutant reaches as few objects as possible: of float32, and of the portable kernels and the best ones that run here. If
it survives, so do those of float64 and the generic kernels. Everything is built in a temporary folder, as a shared
library: programs are linked once.

JOBS=1 in the environment: one at a time, not two. PYTHON= (empty): without the Python tests.
"""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import mutant_changes

LEAST = 95.0
JOBS = int(os.environ.get("JOBS", "2"))
ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
ISA_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
}
FLAGS = ["-std=gnu11", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-Icsrc", "-Isrc/bptt/include"]
FLAGS += ["-Werror=int-conversion", "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration"]
TIMED = {"threads", "team"}  # programs that may fail on a busy machine: if they end, it counts only if they fail again
KILLED = f"exit code {-signal.SIGKILL}"  # it took too long
# programs that look at what a folder of csrc/ does, before all others
FIRST = {
    "base": ["team", "threads"],
    "spec": ["errors", "spec"],
    "cells": ["kernels", "core"],
    "kernels": ["kernels"],
    "forward_mode": ["learner"],
    "train": ["clip", "constrain", "optim", "loss"],
}
PYTHON_TESTS = {
    "base": ["threads", "misuse"],
    "spec": ["bad_input", "misuse", "windows"],
    "cells": ["gradients", "stream", "leak"],
    "kernels": ["gradients", "tokens", "optim", "stream"],
    "forward_mode": ["rtrl"],
    "train": ["losses", "loss_functions", "optim", "clip", "constraints"],
    "network": ["gradients", "windows", "stream", "checkpoint", "tokens", "threads", "misuse"],
}


def room(file) -> str:
    """The folder of a file of csrc/; of core_f32.c "network"."""
    return Path(file).parts[1] if len(Path(file).parts) > 2 else "network"


def best_set() -> str:
    flags = re.search(r"^flags.*", Path("/proc/cpuinfo").read_text(), re.M) if os.path.exists("/proc/cpuinfo") else None
    here = flags[0].split() if flags else []
    return "avx512" if {"avx512dq", "avx512vl"} <= {*here} else "avx2" if "avx2" in here else "generic"


def run(command, seconds, wall, **options) -> tuple[str, float]:
    """("" or why the command failed, its seconds of CPU). Everything that it started ends with it."""
    limited = ["sh", "-c", f'ulimit -t {int(seconds) + 1}; ulimit -c 0; exec "$@"', "sh", *command]
    process = subprocess.Popen(
        limited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, **options,
    )  # fmt: skip
    killer = threading.Timer(wall, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    _, status, usage = os.wait4(process.pid, 0)
    killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return "" if process.returncode == 0 else f"exit code {process.returncode}", usage.ru_utime + usage.ru_stime


def compile_unit(folder, unit, obj, *flags) -> bool:
    """One file of the core, from the copy of the sources in `folder`."""
    name = unit.stem.rsplit("_", 1)[0]
    kernels = unit.parent.name == "kernels"
    contract = "-ffp-contract=fast" if kernels else "-ffp-contract=off"
    isa = ISA_FLAGS.get(name, []) if kernels else []
    command = ["cc", *FLAGS, *isa, contract, *flags, "-c", str(unit), "-o", str(obj)]
    return subprocess.run(command, cwd=folder, stderr=subprocess.DEVNULL, check=False).returncode == 0


def object_name(unit) -> str:
    return "_".join(unit.with_suffix(".o").parts)


def copy_sources(folder):
    shutil.copytree(ROOT / "csrc", folder / "csrc")
    shutil.copytree(ROOT / "src" / "bptt" / "include", folder / "src" / "bptt" / "include")


@dataclass
class Program:
    name: str
    bits: int
    path: Path
    seconds: float = 0.0  # of CPU, without a mutant


@dataclass
class Mutant:
    file: str
    change: mutant_changes.Change
    before: str  # the line
    after: str
    verdict: str = ""  # of whom it was noticed, or ""

    def __str__(self):
        quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in (self.before, self.after)]
        return (f"# {self.file}:{self.change.line}: {self.change.operator}\n"
                f'[["{self.file}"]]\nline = "{quoted[0]}"\nnew = "{quoted[1]}"\n')  # fmt: skip


class Base:
    """The unchanged core: its objects, the programs that test it, and what each file of the sources reaches."""

    def __init__(self, folder):
        self.folder, self.best = folder, best_set()
        copy_sources(folder)
        self.units = sorted(path.relative_to(folder) for path in (folder / "csrc").rglob("*.c"))
        self.lock, self.python_lock, self.checked = threading.Lock(), threading.Lock(), set()
        with ThreadPoolExecutor(JOBS) as pool:
            if not all(pool.map(self.build_unit, self.units)):
                raise RuntimeError("the core does not compile")
            self.link(folder, {})
            self.programs = list(pool.map(self.build_program, sorted((TESTS / "c").glob("test_*.c")) * 2, self.bits()))
        self.made_of = {unit: self.object(unit).with_suffix(".d").read_text() for unit in self.units}
        for program in self.programs:
            why, program.seconds = self.run_program(program, folder, self.best, 600, 6000)
            if why:
                raise RuntimeError(f"{program.path.name} fails without a mutant: {why}")

    @staticmethod
    def bits():
        count = len(list((TESTS / "c").glob("test_*.c")))
        return [32] * count + [64] * count

    def build_unit(self, unit) -> bool:
        return compile_unit(self.folder, unit, self.object(unit), "-O1", "-MMD")

    def object(self, unit, level="O1") -> Path:
        return self.folder / f"{level}_{object_name(unit)}"

    def optimised(self, unit) -> Path:
        """The object at -O2, compiled when it is first asked for."""
        obj = self.object(unit, "O2")
        with self.lock:
            if not obj.exists():
                compile_unit(self.folder, unit, obj, "-O2")
        return obj

    def link(self, folder, changed) -> bool:
        """The library in `folder`, with these objects for their units."""
        objects = [str(changed.get(unit, self.object(unit))) for unit in self.units]
        command = ["cc", "-shared", "-o", str(folder / "libbptt.so"), *objects, "-lm", "-pthread"]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def build_program(self, source, bits) -> Program:
        name = source.stem.removeprefix("test_")
        target = self.folder / f"{name}_f{bits}"
        flags = ["-std=gnu11", "-Og", "-DSTOP_AT_FAILURE", f"-DREAL_BITS={bits}", f"-I{self.folder}/csrc"]
        flags += [f"-I{self.folder}/src/bptt/include", f"-I{TESTS}/c", f"-L{self.folder}"]
        subprocess.run(["cc", *flags, str(source), "-o", str(target), "-lbptt", "-lm", "-pthread"], check=True)
        return Program(name, bits, target)

    def run_program(self, program, folder, isa, seconds, wall) -> tuple[str, float]:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "BPTT_ISA": isa}
        for _ in range(3 if program.name in TIMED else 1):
            why, used = run([str(program.path)], seconds, wall, env=environment)
            if why in ("", KILLED):
                break
        return why, used

    def run_python(self, name, python, folder) -> str:
        """Why the Python tests of a folder of csrc/ fail with the library in `folder`, or ""."""
        tests = [f"tests/test_{name}.py" for name in PYTHON_TESTS[name]]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(python)}
        return run(command, 1200, 7200, cwd=ROOT, env=environment)[0]

    def check_python(self, name, python):
        """These tests pass without a mutant; tried when they are first needed."""
        with self.python_lock:
            if name not in self.checked:
                if why := self.run_python(name, python, self.folder):
                    raise RuntimeError(f"the Python tests of csrc/{name} fail without a mutant: {why}")
                self.checked.add(name)

    def reached(self, file) -> list[Path]:
        """The units that contain a file."""
        return [unit for unit in self.units if re.search(rf"(?<!\S){re.escape(file)}(?!\S)", self.made_of[unit])]

    def few(self, units) -> list[Path]:
        """Those of one type, of the best kernels and of the portable ones."""
        stems = ("core_f32", f"{self.best}_f32", "portable_f32")
        return [unit for unit in units if unit.stem in stems] or units

    def more(self, units) -> list[Path]:
        """Those to which a mutant comes that survives in the few."""
        stems = ("core_f64", f"{self.best}_f64", "generic_f32")
        return [unit for unit in units if unit.stem in stems and unit not in self.few(units)]


class Slot:
    """A copy of the sources in which one mutant at a time is made."""

    def __init__(self, base, folder):
        self.base, self.folder = base, folder
        copy_sources(folder)

    def compile(self, units, level, original) -> dict | None:
        """{unit: object} of those that are not as they were; None: does not compile."""
        changed = {}
        for unit in units:
            obj = self.folder / f"{level}_{object_name(unit)}"
            if not compile_unit(self.folder, unit, obj, f"-{level}"):
                return None
            if obj.read_bytes() != original(unit).read_bytes():
                changed[unit] = obj
        return changed

    def sets_of(self, units, bits) -> list[str]:
        """The kernel sets among these units, the best one first; only the best one if there are none of this type."""
        found = {unit.stem.rsplit("_", 1)[0] for unit in units if unit.match(f"kernels/*_f{bits}.c")}
        return sorted(found or {self.base.best}, key=lambda name: name != self.base.best)

    def noticed(self, file, changed, tested) -> str:
        """The program that fails with the changed objects, or "". Programs of the types of the tested units run."""
        if not self.base.link(self.folder, changed):
            return "linker"
        first = FIRST.get(room(file), [])
        bits = {int(unit.stem[-2:]) for unit in tested if unit.stem[-2:].isdigit()} or {32}
        programs = [program for program in self.base.programs if program.bits in bits]
        programs.sort(key=lambda program: (program.name not in first, program.seconds))
        for program in programs:
            sets = self.sets_of(tested, program.bits)
            # programs other than that of the kernels take the set that is tested first
            for isa in sets if program.name == "kernels" else sets[:1]:
                limit = 3 + 5 * program.seconds
                why, _ = self.base.run_program(program, self.folder, isa, limit, 60 + 40 * limit)
                if why:
                    return f"{program.path.name} ({isa}): {why}"
        return ""

    def noticed_by_python(self, file, python) -> str:
        self.base.check_python(room(file), python)
        why = self.base.run_python(room(file), python, self.folder)
        return f"Python: {why}" if why else ""

    def test(self, mutant, python) -> str | None:
        """Who notices the mutant ("": nobody), or None: it is none."""
        path = self.folder / mutant.file
        source = path.read_text()
        path.write_text(source[: mutant.change.begin] + mutant.change.new + source[mutant.change.end :])
        try:
            return self.verdict(mutant.file, python)
        finally:
            path.write_text(source)

    def verdict(self, file, python) -> str | None:
        units = self.base.reached(file)
        changed = self.compile(self.base.few(units), "O1", self.base.object)
        if changed is None:
            return None
        if changed and (found := self.noticed(file, changed, changed)):
            return found
        more = self.compile(self.base.more(units), "O1", self.base.object)
        if more is None:
            return None
        if not (changed or more) or not self.compile(changed or more, "O2", self.base.optimised):
            return None
        changed |= more
        if more and (found := self.noticed(file, changed, more)):
            return found
        self.base.link(self.folder, changed)
        return self.noticed_by_python(file, python) if python else ""


def build_python(base) -> Path | None:
    """The package with the library as it is linked at run time; None where _core.c is not built."""
    source = ROOT / "src" / "bptt" / "_core.c"
    if not source.exists() or os.environ.get("PYTHON") == "":
        return None
    folder = base.folder / "python"
    shutil.copytree(ROOT / "src" / "bptt", folder / "bptt", ignore=shutil.ignore_patterns("*.so", "*.a", "_core.c"))
    command = ["cc", "-O1", "-w", "-shared", "-fPIC", "-DPy_LIMITED_API=0x030B0000", "-Isrc/bptt/include"]
    command += [f"-I{sysconfig.get_path('include')}", str(source), "-o", str(folder / "bptt" / "_core.abi3.so")]
    subprocess.run([*command, f"-L{base.folder}", "-lbptt"], cwd=ROOT, check=True)
    return folder


def quotas(folder, files, count) -> dict[str, int]:
    """Mutants of each file: at least one, otherwise in proportion to the lines that have changes."""
    lines = {file: len(mutant_changes.changes_of((folder / file).read_text())) for file in files}
    lines = {file: n for file, n in lines.items() if n}
    left = max(count - len(lines), 0) / sum(lines.values())
    exact = {file: 1 + left * n for file, n in lines.items()}
    found = {file: int(n) for file, n in exact.items()}
    by_rest = sorted(exact, key=lambda file: found[file] - exact[file])
    for file in by_rest[: count - sum(found.values())]:
        found[file] += 1
    return found


def line_of(text, at) -> str:
    return text[text.rfind("\n", 0, at) + 1 :].split("\n", 1)[0].strip()


def mutants_of(folder, file, seed):
    """In the order in which they are tried."""
    source = (folder / file).read_text()
    for change in mutant_changes.draw(source, random.Random(f"{seed}/{file}")):
        new = source[: change.begin] + change.new + source[change.end :]
        yield Mutant(file, change, line_of(source, change.begin), line_of(new, change.begin))


@dataclass
class Hunt:
    """All mutants of one run."""

    base: Base
    python: Path | None
    slots: list
    found: list = field(default_factory=list)
    excused: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    begin: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        path = TESTS / "equivalent.toml"
        listed = tomllib.loads(path.read_text()) if path.exists() else {}
        self.equivalent = {(file, e["line"], e["new"]) for file, entries in listed.items() for e in entries}

    def next_mutant(self, candidates):
        with self.lock:
            return next(candidates, None)

    def one(self, candidates):
        """Tries candidates of one file until one is a mutant."""
        with self.lock:
            slot = self.slots.pop()
        try:
            while mutant := self.next_mutant(candidates):
                if (mutant.file, mutant.before, mutant.after) in self.equivalent:
                    self.excused.append(mutant)
                    continue
                verdict = slot.test(mutant, self.python)
                if verdict is not None:
                    mutant.verdict = verdict
                    self.record(mutant)
                    return
        finally:
            with self.lock:
                self.slots.append(slot)

    def record(self, mutant):
        with self.lock:
            self.found.append(mutant)
            minutes = (time.monotonic() - self.begin) / 60
            where = f"{mutant.file}:{mutant.change.line} {mutant.change.operator}"
            print(f"{len(self.found):4} {minutes:6.1f} min  {where}: {mutant.verdict or 'SURVIVES'}", flush=True)
            if not mutant.verdict:
                print(mutant, flush=True)


def main(count="300", seed="1", *files):
    files = files or sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.[ch]"))
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folders = [Path(name, part) for part in ("base", *(f"slot{i}" for i in range(JOBS)))]
        for folder in folders:
            folder.mkdir()
        base = Base(folders[0])
        hunt = Hunt(base, build_python(base), [Slot(base, folder) for folder in folders[1:]])
        work = []
        for file, number in quotas(base.folder, files, int(count)).items():
            candidates = mutants_of(base.folder, file, seed)
            work += itertools.repeat(candidates, number)
        random.Random(seed).shuffle(work)
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(hunt.one, work))
    survivors = [mutant for mutant in hunt.found if not mutant.verdict]
    share = 100 * (1 - len(survivors) / len(hunt.found))
    noticed = Counter(mutant.verdict.split(" ")[0] for mutant in hunt.found if mutant.verdict)
    print("noticed by", *(f"{count} {who}" for who, count in noticed.most_common()), sep="\n  ")
    print(*survivors, sep="\n")
    print(f"{share:.1f} % of {len(hunt.found)} mutants noticed; {len(hunt.excused)} more cannot be")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
