"""The SBOM of a wheel (PEP 770) in CycloneDX JSON: the same text for the same sources and tools.

It lists what the compiled files of the wheel are made of: the sources with their hashes, and Cython, whose own code
stands in the module that it writes. What bptt needs beside it stands in the wheel's METADATA.
"""

import hashlib
import json
import uuid
from importlib.metadata import version


def of_pypi(kind, name, release, **fields):
    purl = f"pkg:pypi/{name}@{release}"
    return {"type": kind, "bom-ref": f"{kind} {purl}", "name": name, "version": release, "purl": purl, **fields}


def licensed(identifier):
    return [{"license": {"id": identifier}}]


def source(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": path.as_posix(), "name": path.as_posix(), "hashes": hashes}


def sbom(name, release, description, licence, sources):
    """The text of the SBOM; `sources` are paths relative to the root of the repository, the current directory."""
    about = {"description": description, "licenses": licensed(licence)}
    main = of_pypi("library", name, release, **about, components=[source(path) for path in sorted(sources)])
    cython = of_pypi("library", "cython", version("cython"), licenses=licensed("Apache-2.0"))
    tools = [of_pypi("application", tool, version(tool)) for tool in ("setuptools", "cython")]
    content = {
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": tools},
            "component": main,
        },
        "components": [cython],
        "dependencies": [{"ref": main["bom-ref"], "dependsOn": [cython["bom-ref"]]}, {"ref": cython["bom-ref"]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}"}
    return json.dumps(head | content, indent=1) + "\n"
