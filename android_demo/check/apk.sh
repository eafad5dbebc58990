# A signed APK of the demo, without Gradle; sourced by check.sh.
# shellcheck shell=bash disable=SC2154
#
# It is not for a phone: libvera in it is linked to glibc (there is no NDK here), and fbjni's Java
# classes, which ExecuTorch loads its library with, are missing. What it shows: resources, manifest,
# classes and layout fit together, and the libraries lie on pages of 16 KB.

check_apk() {
  local apk=$work/apk
  dex && layout_libraries || return 1
  cp "$apk/base.apk" "$apk/unaligned.apk" &&
    (cd "$apk" && "$python" "$demo/check/pack.py" unaligned.apk aligned.apk classes.dex lib) &&
    zipalign -c -p 4 "$apk/aligned.apk" && key || return 1
  apksigner sign --ks "$work/check.keystore" --ks-pass pass:checkonly --min-sdk-version 26 \
    --out "$apk/check.apk" "$apk/aligned.apk" &&
    apksigner verify --verbose --min-sdk-version 26 "$apk/check.apk" &&
    PYTHONPATH=$tools/python "$python" "$demo/check/read_apk.py" "$apk/check.apk"
}

dex() { # shrunk with the rules that :vera gives to apps
  cat >"$work/apk/rules.pro" <<END
-dontoptimize
-dontobfuscate
-dontnote
-dontwarn com.facebook.**,org.pytorch.executorch.extension.**,org.jetbrains.annotations.**,java.lang.**,kotlin.**,kotlinx.**
-keep class ai.vera.demo.** { *; }
END
  proguard -injars "$work/vera.jar" -injars "$work/app.jar" -injars "$work/r-classes" \
    -injars "$executorch/android/libs/classes.jar(!META-INF/**)" \
    -injars "$kotlin_lib/kotlin-stdlib.jar(!META-INF/**)" \
    -injars "$kotlin_lib/kotlinx-coroutines-core-jvm.jar(!META-INF/**)" \
    -libraryjars "$work/stubs-classes" -libraryjars "$android_jar" -target 1.8 \
    -outjars "$work/apk/classes.jar" @"$work/apk/rules.pro" @"$demo/vera/consumer-rules.pro" &&
    java -cp "$tools/debian/usr/share/java/com.android.dx.jar" com.android.dx.command.Main --dex \
      --min-sdk-version=26 --output="$work/apk/classes.dex" "$work/apk/classes.jar"
}

layout_libraries() {
  local android=$executorch/third-party/android/libs/executorch lib=$work/apk/lib pair
  rm -rf "$lib"
  for pair in arm64-v8a:arm64 x86_64:x86_64; do
    mkdir -p "$lib/${pair%:*}"
    cp "$work/jni-${pair#*:}"/lib{vera,vera_gpu,vera_jni}.so "$android/${pair%:*}/libexecutorch.so" \
      "$lib/${pair%:*}/" || return 1
  done
  cp "$work/jni-x86_64/libvera_executorch.so" "$lib/x86_64/"
}

key() {
  [ -f "$work/check.keystore" ] || keytool -genkeypair -keystore "$work/check.keystore" \
    -storepass checkonly -keypass checkonly -alias check -keyalg RSA -keysize 2048 -validity 3650 \
    -dname "CN=check only"
}
