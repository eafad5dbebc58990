#!/bin/sh
# Compiles libvera and libvera_gpu for Android's ABI (aarch64, API 26) with clang, links them for
# pages of 16 KB and prints what they need from elsewhere. It needs no NDK: headers are those of
# glibc and libstdc++ for ARM, functions of C, C++ and Highway stay unresolved, and nothing can be
# loaded. It shows that the sources compile for the target and which functions they expect of it.
#   sh kernels/gpu-android.sh [cmake]       from the repository root
# Needs (Debian) clang-14 lld-14 g++-aarch64-linux-gnu libhwy-dev libvulkan-dev.
set -eu

cmake="${1:-cmake}"
build=build/gpu-android
case "$cmake" in
  */*) PATH="$(cd "$(dirname "$cmake")" && pwd):$PATH" ;;
esac
arm=/usr/aarch64-linux-gnu/include
version=$(ls "$arm/c++" | sort -n | tail -n 1)
rm -rf "$build"
mkdir -p "$build/hwy/include" "$build/headers"
# Folders with nothing of the host's architecture in them.
cp -r /usr/include/hwy "$build/hwy/include/"
cp -r /usr/include/vulkan "$build/headers/"
if [ -d /usr/include/vk_video ]; then cp -r /usr/include/vk_video "$build/headers/"; fi
cat >"$build/hwy/CMakeLists.txt" <<'END'
add_library(hwy INTERFACE)
target_include_directories(hwy SYSTEM INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/include)
END
# An empty stand-in for Android's.
clang-14 --target=aarch64-linux-android26 -nostdlib -shared -fuse-ld=lld -x c /dev/null \
  -Wl,-soname,libdl.so -o "$build/libdl.so"
cat >"$build/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER clang-14)
set(CMAKE_CXX_COMPILER clang++-14)
set(CMAKE_C_COMPILER_TARGET aarch64-linux-android26)
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-android26)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "-nostdlibinc -isystem $arm")
set(CMAKE_CXX_FLAGS_INIT "-nostdinc++ -nostdlibinc -isystem $arm/c++/$version \
-isystem $arm/c++/$version/aarch64-linux-gnu -isystem $arm")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-fuse-ld=lld -nostdlib -Wl,-z,max-page-size=16384 \
-Wl,--unresolved-symbols=ignore-all -L$PWD/$build")
END
"$cmake" -S kernels/vulkan -B "$build/library" -G Ninja \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/$build/toolchain.cmake" -DCMAKE_DISABLE_FIND_PACKAGE_hwy=ON \
  -DFETCHCONTENT_SOURCE_DIR_HIGHWAY="$PWD/$build/hwy" \
  -DVERA_VULKAN_HEADERS="$PWD/$build/headers" -DCMAKE_HAVE_LIBC_PTHREAD=ON >/dev/null
"$cmake" --build "$build/library" -j "${JOBS:-2}" --target vera vera_gpu
# Of bionic, but not yet in API 26.
later='aligned_alloc|getentropy|getrandom|glob|iconv|memfd_create|reallocarray|timespec_get'
for library in "$build/library/kernels/libvera.so" "$build/library/libvera_gpu.so"; do
  if llvm-readelf-14 -lW "$library" | grep -w LOAD | grep -vqw 0x4000; then
    echo "$library has a segment that is not aligned to 16 KB." >&2
    exit 1
  fi
  if llvm-nm-14 -Du "$library" | grep -wE "$later"; then
    echo "$library needs a function that Android 8.0 (API 26) lacks." >&2
    exit 1
  fi
  echo "--- $library: $(stat -c %s "$library") bytes, every segment aligned to 16 KB"
  echo "libraries: $(llvm-readelf-14 -dW "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
    tr '\n' ' ')"
  echo "from Highway: $(llvm-nm-14 -DuC "$library" | sed -n 's/.* U \(hwy::[A-Za-z]*\).*/\1/p' |
    sort -u | tr '\n' ' ')"
  echo "from libc, libm, libdl: $(llvm-nm-14 -Du "$library" | awk '{ print $2 }' |
    grep -vE '^_Z|^__cxa|^__gxx' | tr '\n' ' ')"
done
