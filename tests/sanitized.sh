#!/bin/sh
# Runs a command with a package that was built with BPTT_SANITIZE: sanitized.sh SANITIZERS FOLDER COMMAND...
# FOLDER holds the package. The sanitizers' libraries come first in the process, and Python takes its memory where they
# see it. Addresses are not random: older ThreadSanitizers do not know all places where systems of today put memory.
set -eu
PYTHONPATH=$(cd "$2" && pwd) # absolute: tests start programs elsewhere
export BPTT_SANITIZE="$1" PYTHONPATH PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:die_after_fork=0
shift 2
if ! nm -D "$PYTHONPATH"/bptt/_core*.so | grep -qE '__[at]san_'; then
    echo "$PYTHONPATH/bptt is not sanitized" >&2
    exit 1
fi
libraries=
case $BPTT_SANITIZE in *address*) libraries="$libraries $(cc -print-file-name=libasan.so)" ;; esac
case $BPTT_SANITIZE in *undefined*) libraries="$libraries $(cc -print-file-name=libubsan.so)" ;; esac
case $BPTT_SANITIZE in *thread*) libraries="$libraries $(cc -print-file-name=libtsan.so)" ;; esac
fixed=
if setarch -R true 2>/dev/null; then fixed="setarch -R"; fi
exec $fixed env LD_PRELOAD="${libraries# }" "$@"
