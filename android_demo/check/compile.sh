# Native libraries, Kotlin, the public API, ktlint; sourced by check.sh.
# shellcheck shell=bash disable=SC2154
sources=$demo/vera/src
android_flags="-jvm-target 1.8 -no-jdk -Xlambdas=class -Xsam-conversions=class
  -Xstring-concat=inline"

kotlinc() {
  bash "$tools/kotlin/bin/kotlinc" -Werror -no-stdlib -no-reflect "$@"
}

coroutines() { echo "$kotlin_lib/kotlin-stdlib.jar:$kotlin_lib/kotlinx-coroutines-core-jvm.jar"; }

test_path() {
  local found
  found=$(find /usr/share/java -name 'junit-jupiter-*-5.*.jar' -o -name 'junit-platform-*-1.*.jar' \
    -o -name 'opentest4j*-[0-9]*.jar' -o -name 'apiguardian-api-*.jar' -o -name 'picocli-[0-9]*.jar' |
    grep -v -e standalone -e runner -e suite | sort | tr '\n' ':')
  echo "$(coroutines):$kotlin_lib/kotlin-test.jar:$kotlin_lib/kotlin-test-junit5.jar:$(
    find "$tools/debian/usr/share/java" -name 'com.android.json-android-*.jar'):$found"
}

# x86_64 with Python's libvera, which is of the same sources and flags; arm64 all from source, as by
# Gradle.
build_jni() {
  local out=$work/jni-$1 core=
  set -- "-DVERA_JNI_INCLUDE=$jdk/include;$jdk/include/linux" "$1"
  if [ "$2" = arm64 ]; then
    arm64_toolchain
    set -- "$1" "-DCMAKE_TOOLCHAIN_FILE=$work/arm64.cmake" \
      "-DVERA_VULKAN_HEADERS=$work/vulkan-headers"
  else
    core=$("$python" -c 'from vera_mobile.native import library_path; print(library_path())') &&
      mkdir -p "$out" && cp "$core" "$out/libvera.so" || return 1
    set -- "$1" "-DVERA_LIBRARY=$out/libvera.so" "-DVERA_EXECUTORCH_INCLUDE=$("$python" -c \
      'import executorch; print(list(executorch.__path__)[0])')/include"
  fi
  PATH="$root/.venv/bin:$PATH" "$cmake" -S "$sources/main/cpp" -B "$out" -G Ninja "$@" &&
    "$cmake" --build "$out" -j "$jobs" --target vera_jni &&
    { [ -z "$core" ] || "$cmake" --build "$out" -j "$jobs" --target vera_executorch; }
}

arm64_toolchain() {
  mkdir -p "$work/vulkan-headers"
  cp -r /usr/include/vulkan /usr/include/vk_video "$work/vulkan-headers/"
  cat >"$work/arm64.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH $work/arm64 /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
END
}

check_pages() { # LOAD segments of ours and of ExecuTorch's Android libraries
  local file found status=0
  for file in "$work"/jni-x86_64/lib*.so "$work"/jni-arm64/lib*.so \
    "$executorch"/third-party/android/libs/executorch/*/libexecutorch.so; do
    found=$(readelf -lW "$file" | awk '$1 == "LOAD" {print $NF}' | sort -u)
    echo "$file: $found"
    for align in $found; do [ $((align)) -ge 16384 ] || status=1; done
    [ -n "$found" ] || status=1
  done
  return $status
}

# What libvera_executorch needs of ExecuTorch is exported by ExecuTorch's Android library.
# (va_list is named after the machine: looked up for x86-64, where it is the same.)
check_operators() {
  local android=$executorch/third-party/android/libs/executorch needed
  nm -uD "$work/jni-x86_64/libvera_executorch.so" | awk '$2 ~ /executorch/ {print $2}' | sort -u \
    >"$work/needed"
  nm -D --defined-only "$android/x86_64/libexecutorch.so" | awk '{print $3}' | sort -u >"$work/have"
  needed=$(comm -23 "$work/needed" "$work/have")
  echo "needed: $(wc -l <"$work/needed"); missing: $needed"
  [ -s "$work/needed" ] && [ -z "$needed" ] || return 1
  nm -D --defined-only "$android/arm64-v8a/libexecutorch.so" >"$work/have"
  for symbol in $(grep -v vlogf "$work/needed"); do
    grep -q " $symbol\$" "$work/have" || { echo "arm64 lacks $symbol"; return 1; }
  done
}

check_stubs() { "$python" "$demo/check/stubs.py" "$demo/stubs" "$tools/python"; }

compile_vera() {
  rm -rf "$work/stubs-classes" && mkdir -p "$work/stubs-classes"
  # shellcheck disable=SC2046,SC2086
  javac -nowarn --release 8 -Xlint:-options -d "$work/stubs-classes" -cp "$android_jar" \
    $(find "$demo/stubs" -name '*.java') &&
    kotlinc $android_flags -Xexplicit-api=strict -module-name vera -d "$work/vera.jar" \
      "-Xplugin=$kotlin_lib/jvm-abi-gen.jar" \
      -P "plugin:org.jetbrains.kotlin.jvm.abi:outputDir=$work/abi.jar" \
      -P plugin:org.jetbrains.kotlin.jvm.abi:treatInternalAsPrivate=true \
      -P plugin:org.jetbrains.kotlin.jvm.abi:removePrivateClasses=true \
      -cp "$work/stubs-classes:$android_jar:$(coroutines):$executorch/android/libs/classes.jar" \
      "$sources/main/kotlin"
}

app_path() { echo "$work/vera.jar:$work/r-classes:$work/stubs-classes:$android_jar:$(coroutines)"; }

compile_app() {
  rm -rf "$work/apk" "$work/r-classes" && mkdir -p "$work/apk/gen" "$work/r-classes"
  # what the Android Gradle plugin would add to the manifest
  sed 's/^<manifest /<manifest package="ai.vera.demo" android:versionCode="1" \
android:versionName="0.1.0" /' "$demo/app/src/main/AndroidManifest.xml" >"$work/apk/manifest.xml"
  # shellcheck disable=SC2086
  aapt2 compile --dir "$demo/app/src/main/res" -o "$work/apk/res.zip" &&
    aapt2 link -o "$work/apk/base.apk" -I /usr/share/android-framework-res/framework-res.apk \
      --manifest "$work/apk/manifest.xml" --java "$work/apk/gen" --min-sdk-version 26 \
      --target-sdk-version 36 --auto-add-overlay "$work/apk/res.zip" &&
    javac -nowarn --release 8 -Xlint:-options -d "$work/r-classes" \
      "$work/apk/gen/ai/vera/demo/R.java" &&
    kotlinc $android_flags -module-name app -cp "$(app_path)" -d "$work/app.jar" \
      "$demo/app/src/main/kotlin"
}

# Against a few lines in place of androidx.test, which no registry here has.
compile_android_test() {
  rm -rf "$work/androidx" && mkdir -p "$work/androidx"
  javac -nowarn --release 8 -Xlint:-options -d "$work/androidx" \
    -cp "$android_jar:/usr/share/java/junit4.jar" $(find "$demo/check/androidx" -name '*.java') &&
    # shellcheck disable=SC2086
    kotlinc $android_flags "-Xfriend-paths=$work/app.jar" -module-name app_androidTest \
      -cp "$work/androidx:$work/app.jar:/usr/share/java/junit4.jar:$(app_path)" \
      -d "$work/android-test.jar" "$demo/app/src/androidTest/kotlin"
}

compile_tests() {
  kotlinc -jvm-target 17 "-Xfriend-paths=$work/vera.jar" -cp "$work/vera.jar:$(test_path)" \
    -d "$work/vera-test.jar" "$sources/test/kotlin" &&
    kotlinc -jvm-target 17 "-Xfriend-paths=$work/app.jar" \
      -cp "$work/app.jar:$work/vera.jar:$(test_path)" -d "$work/app-test.jar" \
      "$demo/app/src/test/kotlin"
}

# The blocks of android_demo/README.md and README.md, each as the body of a suspending function.
compile_readme() {
  "$python" "$demo/check/snippets.py" "$demo/README.md" "$root/README.md" >"$work/Snippets.kt" &&
    # shellcheck disable=SC2086
    kotlinc $android_flags -nowarn -cp "$(app_path)" -d "$work/snippets.jar" "$work/Snippets.kt"
}

check_api() {
  local committed=$demo/vera/api/vera.api
  rm -rf "$work/abi" && mkdir -p "$work/abi" && (cd "$work/abi" && unzip -q "$work/abi.jar") || return 1
  (cd "$work/abi" && find . -name '*.class' | grep -v inlined | sort |
    xargs javap -public -cp ".:$work/stubs-classes:$android_jar:$(coroutines)" |
    grep -v '^Compiled from') >"$work/vera.api" || return 1
  [ "$update_api" != --update-api ] || cp "$work/vera.api" "$committed"
  diff -u "$committed" "$work/vera.api"
}

lint() {
  (cd "$demo" && java -jar "$tools/ktlint/resources/ktlint" "**/*.kt" "**/*.kts")
}
