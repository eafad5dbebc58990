#!/usr/bin/env bash
# Runs the .pte programs of the Android recipes on ExecuTorch for 64-bit ARM, emulated, and compares
# every output with this machine's: own kernels to the byte, XNNPACK within replay.py's bound.
#   bash tests/arm/run.sh        from anywhere; results: build/arm-executorch/junit.xml
#   bash tests/arm/run.sh --fetch        only fetches what it needs
# VERA_TEST_BUNDLE_DIR: a folder with one bundle a recipe, by its name, instead of exporting nano.
# Needs (Debian 12) g++-aarch64-linux-gnu qemu-user-static unzip, apt-get and the .venv of
# `make setup`. Python, PyTorch and ExecuTorch for ARM are unpacked below build/arm-executorch without
# being installed. A step that cannot run is a failure. Times say nothing under emulation.
set -u
given=${VERA_TEST_BUNDLE_DIR:+$(realpath "$VERA_TEST_BUNDLE_DIR")}
cd "$(dirname "$0")/../.." || exit
root=$PWD
work=$root/build/arm-executorch
python=$root/.venv/bin/python
recipes="android-int4 android-int8 android-int4-xnnpack"
bundles=${given:-$work/bundles}
portable=executorch/extension/pybindings/_portable_lib.cpython-311-aarch64-linux-gnu.so
mkdir -p "$work"
rm -f "$work/steps.tsv" "$work/junit.xml" "$work/results.json"
. "$root/tests/steps.sh"

find_tools() {
  local tool
  for tool in qemu-aarch64-static aarch64-linux-gnu-g++ apt-get dpkg-deb unzip "$python"; do
    command -v "$tool" || { echo "$tool is missing: see the head of tests/arm/run.sh"; return 1; }
  done
}

arm_apt() { # apt-get with lists of its own, so that the system does not learn of arm64
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o Dir::State::Lists="$work/apt/lists" -o Dir::State::Status="$work/apt/status" \
    -o Dir::Cache="$work/apt/cache" "$@"
}

fetch_python() { # Debian's signatures stand for what is in the packages
  [ -f "$work/root/complete" ] && return 0
  rm -rf "$work/apt" "$work/root"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"
  : >"$work/apt/status"
  arm_apt update && arm_apt install --download-only -y --no-install-recommends \
    python3.11-minimal libpython3.11-stdlib libstdc++6 libgomp1 || return 1
  local deb
  for deb in "$work"/apt/cache/archives/*.deb; do
    dpkg-deb -x "$deb" "$work/root" || return 1
  done
  touch "$work/root/complete"
}

fetch_wheels() { # ExecuTorch without its exporter; the site's pure Python comes from .venv
  local pins
  pins=$(sha256sum <"$root/tests/arm/wheels.txt")
  [ "$(cat "$work/site/pins" 2>/dev/null)" = "$pins" ] && return 0
  rm -rf "$work/site"
  mkdir -p "$work/site" "$work/wheels"
  "$python" -m pip download -q --disable-pip-version-check --dest "$work/wheels" --no-deps \
    --only-binary=:all: --python-version 3.11 --implementation cp --require-hashes \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 -r "$root/tests/arm/wheels.txt" || return 1
  local wheel packages
  for wheel in torch-2.10.0 numpy-2.4.6 safetensors-0.8.0; do
    unzip -q -o "$work/wheels/$wheel-*.whl" -d "$work/site" || return 1
  done
  unzip -q -o "$work/wheels/executorch-1.1.0-*.whl" 'executorch/include/*' "$portable" \
    -d "$work/site" || return 1
  packages=$("$python" -c 'import typing_extensions as t; print(t.__file__.rpartition("/")[0])') ||
    return 1
  ln -s "$packages/typing_extensions.py" "$work/site/" && echo "$pins" >"$work/site/pins"
}

build_library() { # in the tree of the C++ tests for ARM, whose objects it shares
  sh kernels/arm-test.sh "$root/.venv/bin/cmake" vera &&
    mkdir -p "$work/_lib" && cp build/arm/tests/kernels/libvera.so "$work/_lib/"
}

build_operators() { # flags as in kernels/cmake/python_ops.cmake, without PyTorch's operators
  local include=$work/site/executorch/include
  aarch64-linux-gnu-g++ -std=c++20 -O2 -fPIC -shared -fvisibility=hidden -ffp-contract=off -Wall \
    -Wextra -DC10_USING_CUSTOM_GENERATED_MACROS -isystem "$include" \
    -isystem "$include/executorch/runtime/core/portable_type/c10" -Ikernels/include -Ikernels \
    kernels/executorch/*.cc "$work/_lib/libvera.so" "$work/site/$portable" \
    -Wl,--allow-shlib-undefined,-rpath,"\$ORIGIN" -o "$work/_lib/libvera_executorch.so"
}

make_cases() { # recipe: its bundle, unless one is given, and what it does on this machine
  local bundle=$bundles/$1 stamp
  if [ -z "$given" ]; then
    stamp=$(find export vera_mobile/assets vera_mobile/model vera_mobile/quant kernels/ops \
      -type f -not -name '*.pyc' -exec sha256sum {} + | sort | sha256sum)
    if [ "$(cat "$bundle.stamp" 2>/dev/null)" != "$stamp" ]; then
      mkdir -p "$bundles"
      .venv/bin/vera export --checkpoint nano --recipe "$1" --no-verify --overwrite \
        --out "$bundle" || return 1
      echo "$stamp" >"$bundle.stamp"
    fi
  fi
  mkdir -p "$work/cases"
  "$python" tests/arm/make_cases.py "$bundle" "$work/cases/$1.npz"
}

replay() { # one process: PyTorch's import alone is half a minute under emulation
  local recipe cases=()
  for recipe in $recipes; do cases+=("$recipe" "$bundles/$recipe" "$work/cases/$recipe.npz"); done
  qemu-aarch64-static -cpu max -L "$work/root" -E PYTHONHOME="$work/root/usr" \
    -E PYTHONPATH="$work/site:$root" -E OMP_NUM_THREADS=1 \
    "$work/root/usr/bin/python3.11" -B tests/arm/replay.py "$work" "$work/results.json" "${cases[@]}"
}

if [ "${1:-}" = --fetch ]; then
  find_tools && fetch_python && fetch_wheels
  exit
fi

main() {
  local recipe
  step "tools" find_tools || return 1
  step "Python for ARM" fetch_python || return 1
  step "PyTorch and ExecuTorch for ARM" fetch_wheels || return 1
  step "libvera for ARM" build_library || return 1
  step "ExecuTorch operators for ARM" build_operators || return 1
  for recipe in $recipes; do
    step "$recipe on this machine" make_cases "$recipe" || return 1
  done
  step "programs on ARM" replay
}

main
"$python" tests/arm/junit.py "$work"
