#!/bin/sh
# Fuzzes the C ABI (render, bake) and the readers of bundles, tokenizers, looks and .cube files with
# libFuzzer under ASan and UBSan, and Python's readers of .cube, .3dl and HALD files with atheris; a
# finding fails and is kept in build/fuzz.
#   sh kernels/fuzz.sh [--minutes N | SECONDS] [cmake]       from the repository root
# SECONDS are for each of the seven targets (60 by default); Python's runs beside the six others,
# which share the --minutes.
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
"$cmake" --build "$build" -j "${JOBS:-2}"
if ! cmp -s kernels/fuzz/fuzz-tools.txt "$build/python/complete"; then
  rm -rf "$build/python"
  "$python" -m pip --disable-pip-version-check install -q --no-deps --target "$build/python" \
    -r kernels/fuzz/fuzz-tools.txt
  cp kernels/fuzz/fuzz-tools.txt "$build/python/complete"
fi

fuzz() { # name, most bytes of an input, program...: into a log that ends with what was run
  target=$1 length=$2
  shift 2
  mkdir -p "$build/corpus/$target"
  "$@" "$build/corpus/$target" -max_len="$length" -max_total_time="$seconds" \
    -artifact_prefix="$build/$target-" -print_final_stats=1 -verbosity=0 >"$build/$target.log" 2>&1
}

failed=0
ended() { # name, its exit code
  echo "--- $1, $seconds s: exit code $2"
  cat "$build/$1.log"
  [ "$2" = 0 ] || failed=1
}

# Python's beside the others: it computes for half a minute before it begins.
(PYTHONPATH="$build/python" fuzz luts_fuzz 4096 "$python" kernels/fuzz/luts_fuzz.py) &
luts=$!
for name in render_fuzz bake_fuzz manifest_fuzz tokenizer_fuzz look_fuzz cube_fuzz; do
  case $name in
    render_fuzz | bake_fuzz) most=2048 ;;
    *) most=1024 ;;
  esac
  status=0
  fuzz $name "$most" "$build/$name" || status=$?
  ended $name "$status"
done
status=0
wait "$luts" || status=$?
ended luts_fuzz "$status"
exit $failed
