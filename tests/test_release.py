"""What a release is made of: the SBOM, the changelog's section, workflows that run what they name, the conda recipe."""

import hashlib
import json
import re
import runpy
import shutil
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CHANGELOG = """# Changelog

## 1.3.0 (unreleased)

- Not yet.

## 1.2.0 (2027-01-31)

Two lines of
one paragraph.

- An item
  of two lines; `## no heading`.
- Another.
  - A part of it
    and more.

## 1.1.0 (2026-12-24)

- Old.
"""

pytestmark = pytest.mark.skipif(not (ROOT / "wheels").is_dir(), reason="needs the sources")


# ---- the SBOM -----------------------------------------------------------------------------------------------


def sbom(sources):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    make = runpy.run_path(str(ROOT / "wheels" / "sbom.py"))["sbom"]
    return make("bptt", "1.2.3", "Networks", "MIT", sources)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Paths of copies of the C sources and the module's, relative to the current directory."""
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    shutil.copy(ROOT / "src" / "bptt" / "_core.pyx", tmp_path)
    monkeypatch.chdir(tmp_path)
    return [*Path("csrc").rglob("*.[ch]"), Path("_core.pyx")]


def test_sbom_is_cyclonedx(sources):
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    text = sbom(sources)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"novel"')) is not None


def test_sbom_says_what_the_module_is_made_of(sources):
    bom = json.loads(sbom(sources))
    main = bom["metadata"]["component"]
    assert (main["name"], main["version"], main["purl"]) == ("bptt", "1.2.3", "pkg:pypi/bptt@1.2.3")
    assert main["licenses"] == [{"license": {"id": "MIT"}}]
    listed = {file["name"]: file["hashes"] for file in main["components"]}
    assert listed.keys() == {path.as_posix() for path in sources}
    for name, hashes in listed.items():
        assert hashes == [{"alg": "SHA-256", "content": hashlib.sha256(Path(name).read_bytes()).hexdigest()}]
    (cython,) = bom["components"]
    assert (cython["name"], cython["version"]) == ("cython", version("cython"))
    assert bom["dependencies"][0] == {"ref": main["bom-ref"], "dependsOn": [cython["bom-ref"]]}


def test_sbom_depends_on_the_sources_alone(sources):
    first = sbom(sources)
    assert sbom(sources[::-1]) == first
    Path("_core.pyx").write_text("changed")
    other = json.loads(sbom(sources))
    assert other["serialNumber"] != json.loads(first)["serialNumber"]


# ---- the changelog's section --------------------------------------------------------------------------------

NOTES = runpy.run_path(str(ROOT / "wheels" / "notes.py")) if (ROOT / "wheels").is_dir() else {}
HEADER = "#define BPTT_VERSION_MAJOR 1\n#define BPTT_VERSION_MINOR 2\n#define BPTT_VERSION_PATCH 0\n"


def test_notes_are_the_section_with_paragraphs_on_one_line():
    assert NOTES["notes"]("v1.2.0", HEADER, CHANGELOG) == (
        "Two lines of one paragraph.\n\n"
        "- An item of two lines; `## no heading`.\n- Another.\n  - A part of it and more."
    )


@pytest.mark.parametrize(
    "tag, header, message",
    [
        ("v1.3.0", HEADER, r"expected the tag v1\.2\.0 .*got v1\.3\.0"),
        ("1.2.0", HEADER, r"expected the tag v1\.2\.0 .*got 1\.2\.0"),
        ("v1.3.0", HEADER.replace("MINOR 2", "MINOR 3"), r"date of 1\.3\.0 .*got \(unreleased\)"),
        ("v1.4.0", HEADER.replace("MINOR 2", "MINOR 4"), r"no section '## 1\.4\.0 \(date\)'"),
        ("v1.2.10", HEADER.replace("PATCH 0", "PATCH 10"), r"no section '## 1\.2\.10 \(date\)'"),
    ],
)
def test_notes_refuse(tag, header, message):
    with pytest.raises(SystemExit, match=message):
        NOTES["notes"](tag, header, CHANGELOG)


def test_this_changelog_has_notes_for_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8").replace("(unreleased)", "(2027-01-31)")
    header = (ROOT / "src/bptt/include/bptt.h").read_text("utf-8")
    release = NOTES["version"](header)
    notes = NOTES["notes"](f"v{release}", header, text)
    assert notes.startswith("- ")
    assert all(line.lstrip().startswith("- ") for line in notes.splitlines() if line)


# ---- workflows ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not WORKFLOWS, reason="needs a clone")
def test_actions_are_pinned_by_commit():
    used = {}
    for workflow in WORKFLOWS:
        for line in re.findall(r"^.*\buses:.*$", workflow.read_text("utf-8"), re.M):
            found = re.fullmatch(r" +- uses: ([\w/-]+)@([0-9a-f]{40}) # (v[\d.]+)", line)
            assert found, f"{workflow.name}: {line}"
            used.setdefault(found[1], set()).add(found.groups()[1:])
    assert len(used) > 5
    assert not {action: pins for action, pins in used.items() if len(pins) > 1}


@pytest.mark.skipif(not WORKFLOWS, reason="needs a clone")
def test_jobs_have_no_right_but_those_they_name_and_end():
    for workflow in WORKFLOWS:
        head, jobs = workflow.read_text("utf-8").split("\njobs:\n")
        assert "\npermissions: {}\n" in head, workflow.name
        for job in re.split(r"^(?=  \w)", jobs, flags=re.M)[1:]:
            assert "\n    permissions:\n" in job, job
            assert "\n    timeout-minutes: " in job, job
            if "actions/checkout" in job:
                assert "persist-credentials: false" in job, job


@pytest.mark.skipif(not WORKFLOWS, reason="needs a clone")
def test_workflows_run_scripts_and_goals_that_exist():
    text = "".join(workflow.read_text("utf-8") for workflow in WORKFLOWS)
    scripts = set(re.findall(r"(?:wheels|\.ci)/\w+(?:\.py)?\b", text)) - {"wheels/dist"}
    assert {"wheels/notes.py", ".ci/run"} <= scripts
    assert all((ROOT / script).is_file() for script in scripts)
    goals = set(" ".join(re.findall(r"goals: ([\w -]+?) }", text)).split())
    assert goals
    assert goals <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


# ---- the recipe ---------------------------------------------------------------------------------------------


def test_the_recipe_asks_for_what_the_package_asks_for():
    recipe = (ROOT / "wheels" / "conda" / "recipe.yaml").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    run = re.search(r"\n  run:\n((?:    - .*\n)+)", recipe)[1].split("\n    - ")
    listed = {line.strip(" -\n").replace(" ", "") for line in run} - {"python"}
    assert listed == set(project["project"]["dependencies"])
    for requirement in project["build-system"]["requires"]:
        assert f"- {requirement.replace('>=', ' >=')}\n" in recipe
    release = NOTES["version"]((ROOT / "src/bptt/include/bptt.h").read_text("utf-8"))
    assert f"\n  version: {release}\n" in recipe
    assert f"\n  license: {project['project']['license']}\n" in recipe
