"""What the how-tos show besides blocks of Python (test_docs.py): shell lines, and a job that Slurm stops."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import test_docs
import test_link

import bptt

PAGES = sorted(page for page in test_docs.PAGES if page.startswith("docs/howto/"))


def test_pages_are_short():
    assert len(PAGES) > 5
    assert {page: n for page in PAGES if (n := test_docs.PAGES[page].count("\n")) > 60} == {}


def test_the_shell_lines_of_the_plugin_page_write_its_files(tmp_path):
    rnn = bptt.RNN(1, 8, 1, cell="lstm", seed=0)
    rnn.save(tmp_path / "model.safetensors")
    (lines,) = test_docs.blocks("docs/howto/plugin.md", "sh")
    for line in lines.splitlines():
        module = line.removeprefix("python ").split()
        test_link.python(*module, cwd=tmp_path, PYTHONPATH=test_link.path())
    assert {"model.json", "model.nam", "model.h", "model.c"} <= set(os.listdir(tmp_path))


# ---- a job that Slurm stops --------------------------------------------------------------------------------------

SLURM = "docs/howto/slurm.md"
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals and a shell")


def started(folder):
    """The page's train.py, a little longer, as a process in a folder."""
    folder.mkdir(exist_ok=True)
    (script,) = test_docs.blocks(SLURM, "py")
    assert "epochs=40" in script
    (folder / "train.py").write_text(script.replace("epochs=40", "epochs=250"))
    environment = os.environ | {"PYTHONPATH": test_link.path()}
    return subprocess.Popen([sys.executable, "train.py"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_stopped_goes_on_and_ends_the_same(number, tmp_path):
    """SIGTERM is preemption, SIGINT what --signal sends before the time limit."""
    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    first, whole = started(stopped), started(undisturbed)
    while not (stopped / "run.safetensors").exists() and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(number)
    assert first.wait(300) == 75
    assert not (stopped / "model.safetensors").exists()
    assert (started(stopped).wait(300), whole.wait(300)) == (0, 0)
    models = [bptt.RNN.load(folder / "model.safetensors").params for folder in (stopped, undisturbed)]
    assert (models[0] == models[1]).all()


@posix
@pytest.mark.parametrize("code, requeued", [(75, True), (0, False), (1, False)])
def test_the_job_is_submitted_again_if_it_is_not_done(code, requeued, tmp_path):
    """srun and scontrol are scripts that stand in for Slurm's."""
    (job,) = test_docs.blocks(SLURM, "sh")
    (tmp_path / "job.sh").write_text(job)
    for name, body in {"srun": f"exit {code}", "scontrol": 'echo "$@" >asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    subprocess.run(["sh", "job.sh"], cwd=tmp_path, env=environment, check=False)
    asked = Path(tmp_path / "asked")
    assert (asked.read_text() if asked.exists() else "") == "requeue 7\n" * requeued


@posix
def test_slurm_reads_the_options_of_the_job():
    """Slurm takes #SBATCH lines up to the first command."""
    (job,) = test_docs.blocks(SLURM, "sh")
    options, commands = re.fullmatch(r"#!/bin/bash\n((?:#SBATCH [^\n]*\n)+)(.*)", job, re.S).groups()
    assert "#SBATCH" not in commands
    assert all(re.fullmatch(r"#SBATCH( --[\w-]+(=\S+)?)+", line) for line in options.splitlines())
