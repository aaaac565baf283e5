"""Prints the changelog's section of a release, as GitHub shows it: python wheels/notes.py v1.2.3

An error: a tag that is not the version of bptt.h, a section without a date.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version(header):
    return ".".join(re.findall(r"#define BPTT_VERSION_\w+ (\d+)", header))


def section(changelog, release):
    """The section's text; a paragraph or an item on one line, since GitHub keeps the line breaks of a release."""
    found = re.search(rf"^## {re.escape(release)} \((.*?)\)\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if not found:
        raise SystemExit(f"CHANGELOG.md has no section '## {release} (date)'")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", found[1]):
        raise SystemExit(f"CHANGELOG.md: expected the date of {release} as (YYYY-MM-DD), got ({found[1]})")
    lines = []
    for line in found[2].strip().splitlines():
        if lines and lines[-1] and line and not re.match(r"\s*[-*] |#", line):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


def notes(tag, header, changelog):
    if tag != f"v{version(header)}":
        raise SystemExit(f"expected the tag v{version(header)} (the version of bptt.h), got {tag}")
    return section(changelog, version(header))


if __name__ == "__main__":
    paths = ROOT / "src/bptt/include/bptt.h", ROOT / "CHANGELOG.md"
    print(notes(sys.argv[1], *(path.read_text("utf-8") for path in paths)))
