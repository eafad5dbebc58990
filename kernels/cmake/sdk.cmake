# What apps plan with (vera/retoucher.h): bundle, tokenizer, prompts, picture, plan, look.
include(cmake/json.cmake)
set(VERA_SDK_SOURCES
    sdk/abi.cc
    sdk/bundle.cc
    sdk/color.cc
    sdk/cube.cc
    sdk/cube_reader.cc
    sdk/json.cc
    sdk/look.cc
    sdk/manifest.cc
    sdk/picture.cc
    sdk/plan.cc
    sdk/planner.cc
    sdk/prompt.cc
    sdk/prompt_format.cc
    sdk/queue.cc
    sdk/renderer_file.cc
    sdk/resample.cc
    sdk/retoucher.cc
    sdk/sampling.cc
    sdk/sha256.cc
    sdk/source.cc
    sdk/tokenizer.cc
    sdk/tokenizer_reader.cc
    sdk/unicode.cc
    sdk/words.cc)

add_library(vera_sdk OBJECT ${VERA_SDK_SOURCES})
target_include_directories(vera_sdk PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
target_include_directories(vera_sdk SYSTEM PRIVATE ${VERA_JSON_FOLDER})
target_compile_options(vera_sdk PRIVATE ${VERA_STRICT_FLAGS})
target_compile_definitions(vera_sdk PRIVATE VERA_BUILDING VERA_VERSION="${PROJECT_VERSION}")
set(VERA_SDK_OBJECTS $<TARGET_OBJECTS:vera_sdk>)
