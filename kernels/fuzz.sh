#!/bin/sh
# Fuzzes the C ABI (render, bake) and the readers of bundles, tokenizers and looks with libFuzzer under
# ASan and UBSan, and the readers of .cube, .3dl and HALD files with atheris; a finding fails and is
# kept in build/fuzz.
#   sh kernels/fuzz.sh [--minutes N | SECONDS] [cmake]       from the repository root
# SECONDS are for each of the six targets (60 by default); --minutes is shared by them.
# Needs clang with its runtime (Debian: clang-14 libclang-rt-14-dev); CC and CXX choose another.
# PYTHON names an interpreter that has this package (default: .venv/bin/python).
set -eu

seconds=60
if [ "${1:-}" = --minutes ]; then
  seconds=$((${2:?--minutes needs a number} * 60 / 6))
  shift 2
elif [ $# -gt 0 ] && [ "${1#*[!0-9]}" = "$1" ]; then
  seconds=$1
  shift
fi
cmake="${1:-cmake}"
python="${PYTHON:-.venv/bin/python}"
build=build/fuzz
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
export CC="${CC:-clang-14}" CXX="${CXX:-clang++-14}"
"$cmake" -S kernels/fuzz -B "$build" -G Ninja
"$cmake" --build "$build" -j "${JOBS:-2}" --target render_fuzz bake_fuzz \
  manifest_fuzz tokenizer_fuzz look_fuzz
if ! cmp -s kernels/fuzz/fuzz-tools.txt "$build/python/complete"; then
  rm -rf "$build/python"
  "$python" -m pip --disable-pip-version-check install -q --no-deps --target "$build/python" \
    -r kernels/fuzz/fuzz-tools.txt
  cp kernels/fuzz/fuzz-tools.txt "$build/python/complete"
fi

fuzz() { # name, program...: its last lines say how much was run
  name=$1
  shift
  mkdir -p "$build/corpus/$name"
  echo "--- $name for $seconds s"
  "$@" "$build/corpus/$name" -max_total_time="$seconds" -artifact_prefix="$build/$name-" \
    -print_final_stats=1 -verbosity=0
}

fuzz render_fuzz "$build/render_fuzz" -max_len=2048
fuzz bake_fuzz "$build/bake_fuzz" -max_len=2048
for name in manifest_fuzz tokenizer_fuzz look_fuzz; do
  fuzz $name "$build/$name" -max_len=1024
done
PYTHONPATH="$build/python" fuzz luts_fuzz "$python" kernels/fuzz/luts_fuzz.py -max_len=4096
