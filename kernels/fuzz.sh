#!/bin/sh
# Fuzzes the C ABI with libFuzzer under ASan and UBSan; a finding fails and is kept in build/fuzz.
#   sh kernels/fuzz.sh [seconds] [cmake]       from the repository root; 60 seconds by default
# Needs clang with its runtime (Debian: clang-14 libclang-rt-14-dev); CC and CXX choose another.
set -eu

seconds="${1:-60}"
cmake="${2:-cmake}"
build=build/fuzz
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
export CC="${CC:-clang-14}" CXX="${CXX:-clang++-14}"
"$cmake" -S kernels/fuzz -B "$build" -G Ninja
"$cmake" --build "$build" -j "${JOBS:-2}" --target render_fuzz
for target in render_fuzz; do
  mkdir -p "$build/corpus/$target"
  "$build/$target" "$build/corpus/$target" -max_total_time="$seconds" -max_len=2048 \
    -artifact_prefix="$build/$target-" -print_final_stats=1
done
