#!/bin/sh
# Compiles the shaders, builds libvera_gpu and runs its tests on a software Vulkan device.
#   sh kernels/gpu-test.sh [cmake]       from the repository root
# Needs (Debian) libgtest-dev libvulkan1 libvulkan-dev mesa-vulkan-drivers. A machine without a
# device fails; VERA_GPU_TESTS_SKIP=1 skips what needs one. VERA_GPU_TEST_DEVICE=N chooses another.
set -eu

cmake="${1:-cmake}"
build=build/gpu
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
software=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
if [ -z "${VERA_GPU_TEST_DEVICE:-}" ] && [ -f "$software" ]; then
  export VK_ICD_FILENAMES="$software" VK_DRIVER_FILES="$software"
fi
"$cmake" -S kernels/vulkan -B "$build" -G Ninja -DVERA_GPU_TESTS=ON
"$cmake" --build "$build" -j "${JOBS:-2}"
"$(dirname "$(command -v "$cmake")")/ctest" --test-dir "$build" --output-on-failure \
  --output-junit "$PWD/$build/ctest.xml"
