find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "GoogleTest not found: install it (Debian: libgtest-dev; Homebrew: googletest) "
                      "or build without -DVERA_BUILD_TESTS=ON.")
endif()
enable_testing()

function(vera_add_render_test name)
  add_executable(${name}
    ops/render/render_test.cc ops/render/frames_test.cc ops/render/render_ref.cc ${ARGN})
  target_include_directories(${name} PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${VERA_STRICT_FLAGS})
  target_compile_definitions(${name} PRIVATE VERA_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name} PRIVATE hwy::hwy GTest::gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
endfunction()

vera_add_render_test(render_test $<TARGET_OBJECTS:vera_objects>)
# The machine without SIMD, which the first program does not hold.
vera_add_render_test(render_test_scalar ${VERA_SOURCES})
target_compile_definitions(render_test_scalar PRIVATE HWY_COMPILE_ONLY_EMU128)

add_executable(vera_c11_test cpu/vera_c11_test.c)
target_compile_options(vera_c11_test PRIVATE -Wall -Wextra -Wpedantic -Werror)
set_target_properties(vera_c11_test PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
target_link_libraries(vera_c11_test PRIVATE vera)
add_test(NAME vera_c11_test COMMAND vera_c11_test)
