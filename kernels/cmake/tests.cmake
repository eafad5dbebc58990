find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "GoogleTest not found: install it (Debian: libgtest-dev; Homebrew: googletest) "
                      "or build without -DVERA_BUILD_TESTS=ON.")
endif()
enable_testing()

function(vera_add_test name)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${VERA_STRICT_FLAGS})
  target_compile_definitions(${name} PRIVATE VERA_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name} PRIVATE hwy::hwy GTest::gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
endfunction()

set(VERA_RENDER_TEST
    ops/render/render_test.cc ops/render/banding_test.cc ops/render/frames_test.cc
    ops/render/render_ref.cc)
set(VERA_BAKE_TEST ops/bake/bake_test.cc ops/bake/bake_ref.cc)
vera_add_test(render_test ${VERA_RENDER_TEST} $<TARGET_OBJECTS:vera_objects>)
vera_add_test(bake_test ${VERA_BAKE_TEST} $<TARGET_OBJECTS:vera_objects>)
vera_add_test(threads_test cpu/threads_test.cc $<TARGET_OBJECTS:vera_objects>)
vera_add_test(decoder_test ops/decoder/decoder_test.cc ${VERA_DECODER_OBJECTS})
vera_add_test(vision_test ops/vision/vision_test.cc ops/vision/vision_ref.cc ${VERA_VISION_OBJECTS}
              ${VERA_DECODER_OBJECTS})
# The machine without SIMD, which the first programs do not hold.
vera_add_test(render_test_scalar ${VERA_RENDER_TEST} ${VERA_SOURCES})
vera_add_test(bake_test_scalar ${VERA_BAKE_TEST} ${VERA_SOURCES})
foreach(name render_test_scalar bake_test_scalar)
  target_compile_definitions(${name} PRIVATE HWY_COMPILE_ONLY_EMU128)
endforeach()

set(VERA_SDK_TEST $<TARGET_OBJECTS:vera_objects> ${VERA_SDK_OBJECTS})
vera_add_test(sdk_test sdk/sdk_test.cc ${VERA_SDK_TEST})
vera_add_test(plan_test sdk/plan_test.cc ${VERA_SDK_TEST})
vera_add_test(picture_test sdk/picture_test.cc ${VERA_SDK_TEST})
foreach(name sdk_test plan_test picture_test)
  target_include_directories(${name} SYSTEM PRIVATE ${VERA_JSON_FOLDER})
endforeach()

add_executable(vera_c11_test cpu/vera_c11_test.c)
target_compile_options(vera_c11_test PRIVATE -Wall -Wextra -Wpedantic -Werror)
set_target_properties(vera_c11_test PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
target_link_libraries(vera_c11_test PRIVATE vera)
add_test(NAME vera_c11_test COMMAND vera_c11_test)
