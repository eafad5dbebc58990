plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
}

val executorchInclude = providers.gradleProperty("vera.executorchInclude").getOrElse("")
val executorchFolder = layout.buildDirectory.dir("executorch")

// The libraries inside the artifact, to link libvera_executorch to.
val executorchArtifact: Configuration by configurations.creating {
    isTransitive = false
}
val unpackExecutorch by tasks.registering(Sync::class) {
    from({ zipTree(executorchArtifact.singleFile) }) { include("jni/**") }
    into(executorchFolder)
}

android {
    namespace = "ai.vera.mobile"
    compileSdk = libs.versions.compileSdk.get().toInt()
    ndkVersion = libs.versions.ndk.get()

    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
        ndk {
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
        externalNativeBuild {
            cmake {
                arguments += listOf("-DANDROID_STL=c++_static", "-DCMAKE_BUILD_TYPE=Release")
                arguments += "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON"
                if (executorchInclude.isNotEmpty()) {
                    val jni = executorchFolder.get().dir("jni").asFile
                    arguments += "-DVERA_EXECUTORCH_INCLUDE=${rootProject.file(executorchInclude)}"
                    arguments += "-DVERA_EXECUTORCH_FOLDER=$jni"
                }
                targets += listOf("vera", "vera_gpu", "vera_jni")
                if (executorchInclude.isNotEmpty()) targets += "vera_executorch"
            }
        }
    }

    externalNativeBuild {
        cmake {
            path = file("src/main/cpp/CMakeLists.txt")
            version = libs.versions.cmake.get()
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }

    testOptions {
        unitTests.all {
            // those that need the library for the host are run by check.sh
            it.useJUnitPlatform { excludeTags("native") }
        }
    }
}

kotlin {
    explicitApi()
    compilerOptions {
        allWarningsAsErrors = true
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11
    }
}

tasks.matching { it.name.startsWith("configureCMake") }.configureEach {
    dependsOn(unpackExecutorch)
}

dependencies {
    api(libs.kotlinx.coroutines.core)
    implementation(libs.executorch.android)
    executorchArtifact(libs.executorch.android) { artifact { type = "aar" } }
    testImplementation(libs.kotlin.test.junit5)
    testImplementation(libs.junit.jupiter)
    testImplementation(libs.json)
}
