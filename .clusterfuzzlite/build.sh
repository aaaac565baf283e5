#!/bin/bash -eu
# Called by ClusterFuzzLite, which sets CC, CXX, CFLAGS, LIB_FUZZING_ENGINE and OUT.
tests/fuzz/build.sh "$WORK"
cp "$WORK/core_calls" tests/fuzz/core.dict "$OUT"
mv "$OUT/core.dict" "$OUT/core_calls.dict"
python3 tests/fuzz/run.py --core-seeds "$WORK/seeds"
zip -qj "$OUT/core_calls_seed_corpus.zip" "$WORK/seeds"/*
