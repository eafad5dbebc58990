#!/bin/sh
# Fuzzes the C ABI (render, bake) and the readers of bundles, tokenizers, looks and .cube files with
# libFuzzer under ASan and UBSan, and Python's readers of .cube, .3dl and HALD files with atheris; a
# finding fails and is kept in build/fuzz.
#   sh kernels/fuzz.sh [--minutes N | SECONDS] [cmake]       from the repository root
# SECONDS are for each of the seven targets (60 by default), two of which run side by side;
# --minutes are shared by them.
# Needs clang with its runtime (Debian: clang-14 libclang-rt-14-dev); CC and CXX choose another.
# PYTHON names an interpreter that has this package (default: .venv/bin/python).
set -eu

seconds=60
if [ "${1:-}" = --minutes ]; then
  seconds=$((${2:?--minutes needs a number} * 60 / 4)) # seven targets, two at a time
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
  name=$1 most=$2
  shift 2
  mkdir -p "$build/corpus/$name"
  "$@" "$build/corpus/$name" -max_len="$most" -max_total_time="$seconds" \
    -artifact_prefix="$build/$name-" -print_final_stats=1 -verbosity=0 >"$build/$name.log" 2>&1
}

failed=0
ended() { # name, process
  status=0
  wait "$2" || status=$?
  echo "--- $1, $seconds s: exit code $status"
  cat "$build/$1.log"
  [ "$status" = 0 ] || failed=1
}

pair() { # two targets of C++ side by side
  fuzz "$1" "$3" "$build/$1" &
  first=$!
  fuzz "$2" "$3" "$build/$2" &
  second=$!
  ended "$1" "$first"
  ended "$2" "$second"
}

pair render_fuzz bake_fuzz 2048
pair manifest_fuzz tokenizer_fuzz 1024
pair look_fuzz cube_fuzz 1024
PYTHONPATH="$build/python" fuzz luts_fuzz 4096 "$python" kernels/fuzz/luts_fuzz.py &
ended luts_fuzz $!
exit $failed
