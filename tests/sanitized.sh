#!/bin/sh
# Runs the test suite with a package that was built with BPTT_SANITIZE: sanitized.sh PYTHON SANITIZERS
# The sanitizers' libraries must come first in the process, and Python must take its memory where they see it.
set -eu
python=$1
export BPTT_SANITIZE="$2"
LD_PRELOAD="$(cc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 "$python" - <<'E2'
import subprocess, bptt._core
symbols = subprocess.run(["nm", "-D", bptt._core.__file__], capture_output=True, text=True, check=True).stdout
assert "__asan_report_load" in symbols and "site-packages" in bptt._core.__file__, "the installed package is not sanitized"
E2
LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    PYTHONMALLOC=malloc "$python" -m pytest -n 2 --dist loadgroup -p no:cacheprovider -q
