"""What is shipped: versions that agree, types, and an archive of bptt_ symbols. test_link.py uses it from outside."""

import dataclasses
import json
import re
import shutil
import subprocess
from importlib.metadata import distribution, metadata, version
from pathlib import Path

import pytest

import bptt
from bptt._spec import Spec, SpecKeywords

HERE = Path(bptt.__file__).parent
ROOT = Path(__file__).parents[1]
HEADER = HERE / "include" / "bptt.h"


def test_versions_agree():
    text = HEADER.read_text()
    macros = [re.search(rf"#define BPTT_VERSION_{part} (\d+)", text)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(macros) == bptt.__version__ == version("bptt")
    assert f"\nVersion: {bptt.__version__}\n" in (HERE / "lib" / "pkgconfig" / "bptt.pc").read_text()
    assert f"## {bptt.__version__} " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="needs the sources")
def test_structs_of_the_bindings_are_those_of_the_header():
    """A member that _core.pyx lacks would silently stay zero."""
    pyx = (ROOT / "src" / "bptt" / "_core.pyx").read_text()
    for struct in ("bptt_spec", "bptt_options", "bptt_sizes", "bptt_window", "bptt_tensor"):
        body = re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", HEADER.read_text(), re.S)[1]
        declared = re.search(rf"ctypedef struct {struct}:\n((?:        .*\n)+)", pyx)[1]
        assert members(declared) == members(re.sub(r"/\*.*?\*/", "", body, flags=re.S)), struct


def members(declarations):
    """The names that a struct's lines declare, in their order."""
    return re.findall(r"(\w+)(?:\[\d+\])?(?:\)\(.*?\).*)?(?=[,;\n])", declarations)


def test_the_description_has_no_link_that_leads_nowhere():
    """Its place is a package index: pictures and paths of the repository are not there."""
    about = metadata("bptt")
    assert about["Description-Content-Type"] == "text/markdown"
    text = about.get_payload()
    assert text.startswith("# bptt\n")
    assert "```python\nimport numpy as np\nimport bptt\n" in text
    assert "int main(void)" in text
    assert not re.findall(r"\]\((?!https?://)[^)]*\)|!\[|<img", text)
    assert all(", https://" in url for url in about.get_all("Project-URL", []))


@pytest.mark.skipif((ROOT / "src").is_dir(), reason="of an installed wheel")
def test_a_wheel_has_its_sbom():
    main = json.loads(distribution("bptt").read_text("sboms/bptt.cdx.json"))["metadata"]["component"]
    assert (main["name"], main["version"]) == ("bptt", bptt.__version__)
    assert {"csrc/core_f32.c", "src/bptt/_core.pyx"} <= {file["name"] for file in main["components"]}


def test_stubs_and_types_are_shipped():
    assert (HERE / "py.typed").exists()
    assert (HERE / "_core.pyi").exists()


def test_type_checkers_see_the_keywords_of_a_network():
    """Those of Spec, of the same types; a dtype may be given in more ways than the field has."""
    fields = {field.name: field.type for field in dataclasses.fields(Spec)}
    given_by_place = {"input_size", "hidden_size", "output_size"}
    keywords = {name: kind for name, kind in fields.items() if name not in given_by_place}
    assert SpecKeywords.__annotations__.keys() == keywords.keys()
    assert {name for name, kind in SpecKeywords.__annotations__.items() if kind != keywords[name]} == {"dtype"}


@pytest.mark.parametrize("module", [bptt, bptt.convert], ids=lambda module: module.__name__)
def test_dir_lists_what_is_public(module):
    listed = [name for name in dir(module) if not name.startswith("__")]
    needs_library = {name for name in bptt.convert.__all__ if name.endswith(("torch", "onnx"))}
    assert set(listed) <= set(module.__all__) <= {*listed, *needs_library}
    assert listed == sorted(listed)
    assert {"__doc__", "__all__"} <= set(dir(module))


def test_entries_of_the_headers_begin_their_lines():
    """clang-format joins lines of a comment around one that is too long."""
    for path in Path(bptt.get_include()).glob("*.h"):
        assert re.findall(r"\. (\w[\w, ]*?) {3,}\w", path.read_text()) == []


@pytest.mark.skipif(not shutil.which("nm"), reason="no nm")
def test_the_archive_defines_bptt_symbols_only_and_all_of_the_header():
    lines = subprocess.run(["nm", "-g", "--defined-only", HERE / "lib" / "libbptt.a"], check=True, capture_output=True,
                           text=True).stdout.splitlines()  # fmt: skip
    defined = {line.split()[2] for line in lines if len(line.split()) == 3}
    defined = {name for name in defined if not name.startswith("__")}  # what sanitizers add
    assert not [name for name in defined if not name.startswith("bptt_")]
    declared = set(re.findall(r"BPTT_API [^;(]*?(bptt_\w+)\(", HEADER.read_text()))
    assert len(declared) > 30
    assert declared == {name for name in defined if not name.startswith("bptt_internal_")}
