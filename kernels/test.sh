#!/bin/sh
# Builds the C++ tests with sanitizers and runs them: AddressSanitizer and UndefinedBehaviorSanitizer
# unless VERA_SANITIZE says another, such as thread.
#   [VERA_SANITIZE=thread] sh kernels/test.sh [cmake] ["threads_test ..."]   from the repository root
# The results are in build/kernels-sanitized/ctest.xml, or in build/kernels-thread/ctest.xml.
set -eu

cmake="${1:-cmake}"
targets="${2:-all}"
sanitize="${VERA_SANITIZE:-address,undefined}"
case "$sanitize" in
  address,undefined) build=build/kernels-sanitized ;;
  *) build="build/kernels-$(echo "$sanitize" | tr , -)" ;;
esac
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
"$cmake" -S . -B "$build" -G Ninja -DVERA_BUILD_TESTS=ON -DVERA_SANITIZE="$sanitize"
# shellcheck disable=SC2086
"$cmake" --build "$build" -j "${JOBS:-2}" --target $targets
pattern="^($(echo "$targets" | tr ' ' '|'))\$"
[ "$targets" != all ] || pattern=.
"$(dirname "$(command -v "$cmake")")/ctest" --test-dir "$build" --output-on-failure -R "$pattern" \
  --no-tests=error --output-junit "$PWD/$build/ctest.xml"
