#!/bin/sh
# Builds the C++ tests for 64-bit ARM and runs them under emulation: NEON, and SVE and SVE2, which
# -cpu max has. Times say nothing there.
#   sh kernels/arm-test.sh [cmake] [targets]       from the repository root
# The target vera is the library; fetch only unpacks what is needed.
# Needs (Debian) g++-aarch64-linux-gnu qemu-user-static, and apt-get for Highway and GoogleTest of
# the other architecture, which are unpacked below build/arm without being installed.
set -eu

cmake="${1:-cmake}"
targets="${2:-render_test}"
build=build/arm/tests
root="$PWD/build/arm/root"
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac

arm_apt() { # apt-get with lists of its own, so that the system does not learn of arm64
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o Dir::State::Lists="$root/lists" -o Dir::State::Status="$root/status" \
    -o Dir::Cache="$root/cache" "$@"
}

if [ ! -f "$root/complete" ]; then
  rm -rf "$root"
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/debs"
  : >"$root/status"
  arm_apt update
  (cd "$root/debs" && arm_apt download libhwy1 libhwy-dev libgtest-dev)
  for deb in "$root"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
  touch "$root/complete"
fi
[ "$targets" != fetch ] || exit 0

libraries="$root/usr/lib/aarch64-linux-gnu"
cat >build/arm/toolchain.cmake <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH $root /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_CROSSCOMPILING_EMULATOR
  qemu-aarch64-static;-cpu;max;-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=$libraries)
END
"$cmake" -S . -B "$build" -G Ninja -DVERA_BUILD_TESTS=ON \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/build/arm/toolchain.cmake"
# shellcheck disable=SC2086
"$cmake" --build "$build" -j "${JOBS:-2}" --target $targets
case "$targets" in *_test*) ;; *) exit 0 ;; esac # vera alone: a library, nothing to run
pattern="^($(echo "$targets" | tr ' ' '|'))\$"
"$(dirname "$(command -v "$cmake")")/ctest" --test-dir "$build" --output-on-failure -R "$pattern" \
  --no-tests=error --output-junit "$PWD/$build/ctest.xml"
