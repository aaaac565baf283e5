#!/bin/sh
# Builds the fuzz target of the C core, from the root of the repository: tests/fuzz/build.sh FOLDER
# CC, CFLAGS and LIB_FUZZING_ENGINE say how, as ClusterFuzzLite sets them; by default Clang's libFuzzer, ASan and UBSan.
set -eu
out=$1
sanitizers="-fsanitize=fuzzer-no-link,address,undefined -fsanitize-ignorelist=$PWD/tests/fuzz/ignored.txt"
sanitizers="$sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"
# Long functions, which are those of the kernels, call ASan's checks: inline they take twice as long to compile.
sanitizers="$sanitizers -mllvm -asan-instrumentation-with-call-threshold=500"
export CC="${CC:-clang}" CFLAGS="${CFLAGS:--O1 -g $sanitizers}"
mkdir -p "$out"
# As a Debug build the core has no level of optimisation but that of CFLAGS.
cmake -S . -B "$out/core" -DCMAKE_BUILD_TYPE=Debug -DBPTT_INSTALL=OFF -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_C_FLAGS="$CFLAGS" >"$out/cmake.log"
cmake --build "$out/core" --parallel 2 >>"$out/cmake.log"
compile="$CC $CFLAGS -std=gnu11 -Isrc/bptt/include -c"
for bits in 32 64; do
    $compile -DREAL_BITS=$bits -o "$out/calls_f$bits.o" tests/fuzz/calls.c
done
$compile -o "$out/main.o" tests/fuzz/main.c
# shellcheck disable=SC2086 # words; an engine that is a library is one of C++
${CXX:-$CC} ${CXXFLAGS:-$CFLAGS} -o "$out/core_calls" "$out/main.o" "$out/calls_f32.o" "$out/calls_f64.o" \
    "$out/core/libbptt.a" ${LIB_FUZZING_ENGINE:--fsanitize=fuzzer} -lm -pthread
