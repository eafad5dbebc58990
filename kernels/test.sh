#!/bin/sh
# Builds the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer and runs them.
#   sh kernels/test.sh [cmake]       from the repository root
set -eu

cmake="${1:-cmake}"
build=build/kernels-sanitized
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
"$cmake" -S . -B "$build" -G Ninja -DVERA_BUILD_TESTS=ON -DVERA_SANITIZE=address,undefined
"$cmake" --build "$build" -j "${JOBS:-2}"
"$(dirname "$(command -v "$cmake")")/ctest" --test-dir "$build" --output-on-failure --output-junit "$PWD/$build/ctest.xml"
