"""Branch coverage of the core: python tests/branches.py FOLDER BINARY

FOLDER holds the counts (*.profraw) of programs that were built with BPTT_COVERAGE=1; BINARY is one that contains the
whole core. A branch is one outcome of a condition in the source, or of one in a macro, for each place that uses the
macro. It is taken if any copy of the condition took it: the sources are compiled for two types and several instruction
sets.

unreached.toml beside this script lists, with reasons, branches that no test can take; they do not count. The others
that no test took are printed. The exit code is 1 where fewer than LEAST percent of the branches were taken, or where
unreached.toml names a condition that the sources do not have.

LLVM_SUFFIX=-19 in the environment takes llvm-cov-19 and llvm-profdata-19, which must be as new as the compiler.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

LEAST = 97.0
EXPANSION = 1  # the kind of a region that a macro fills
ROOT = Path(__file__).resolve().parents[1]
SUFFIX = os.environ.get("LLVM_SUFFIX", "")


class Branch(NamedTuple):
    file: str
    line: int
    column: int
    condition: str
    outcome: bool

    def __str__(self):
        return f"{self.file}:{self.line}:{self.column}: never {str(self.outcome).lower()}: {self.condition}"


def export(folder, binary) -> dict:
    """What llvm-cov knows of all functions of the binary."""
    merged = Path(folder, "all.profdata")
    counts = [str(path) for path in Path(folder).glob("*.profraw")]
    subprocess.run([f"llvm-profdata{SUFFIX}", "merge", "-o", merged, *counts], check=True)
    command = [f"llvm-cov{SUFFIX}", "export", "-instr-profile", merged, binary]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["data"][0]


def source_text(lines, line1, column1, line2, column2) -> str:
    """The text of a region, on one line."""
    if line1 == line2:
        return lines[line1 - 1][column1 - 1 : column2 - 1]
    parts = [lines[line1 - 1][column1 - 1 :], *lines[line1 : line2 - 1], lines[line2 - 1][: column2 - 1]]
    return " ".join(part.strip() for part in parts)


def in_tree(path) -> str:
    """The path of a source from the root of the repository; "" of other files."""
    _, found, name = path.rpartition("csrc/")
    return found + name


def uses_of_macros(function) -> dict[int, tuple[int, int, int]]:
    """For each file that stands for the inside of a macro: the file, line and column of its use."""
    regions = (region for region in function["regions"] if region[7] == EXPANSION)
    return {expanded: (file_id, line, column) for line, column, _, _, _, file_id, expanded, _ in regions}


def count_branches(data) -> dict[Branch, int]:
    """How often each branch of csrc/ was taken, over all copies of its condition."""
    counts = defaultdict(int)
    sources = {path: path.read_text().splitlines() for path in (ROOT / "csrc").rglob("*.[ch]")}
    for function in data["functions"]:
        paths, uses = [in_tree(path) for path in function["filenames"]], uses_of_macros(function)
        for *region, true, false, file_id, _, _ in function.get("branches", []):
            place = file_id, region[0], region[1]
            while place[0] in uses:
                place = uses[place[0]]
            if not paths[file_id] or not paths[place[0]]:
                continue
            text = source_text(sources[ROOT / paths[file_id]], *region)
            for outcome, count in ((True, true), (False, false)):
                counts[Branch(paths[place[0]], *place[1:], text, outcome)] += count
    return counts


def excuses() -> set[tuple[str, str, bool]]:
    """(file, condition, outcome) of the branches that no test can take."""
    listed = tomllib.loads((ROOT / "tests" / "unreached.toml").read_text())
    return {(file, entry["condition"], entry["never"]) for file, entries in listed.items() for entry in entries}


def main(folder, binary):
    counts, excused = count_branches(export(folder, binary)), excuses()
    known = {(branch.file, branch.condition, branch.outcome) for branch in counts}
    reachable = {b: n for b, n in counts.items() if n or (b.file, b.condition, b.outcome) not in excused}
    missed = sorted(branch for branch, count in reachable.items() if not count)
    print(*missed, sep="\n", end="\n" if missed else "")
    share = 100 * (1 - len(missed) / len(reachable))
    print(f"{share:.1f} % of {len(reachable)} branches; {len(counts) - len(reachable)} more cannot be reached")
    for file, condition, outcome in sorted(excused - known):
        print(f"unreached.toml: {file} has no branch {str(outcome).lower()} of {condition}")
    return int(share < LEAST or not excused <= known)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
