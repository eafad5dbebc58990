# What apps plan with (vera/retoucher.h): bundle, tokenizer, prompts, picture, plan, look.
include(cmake/json.cmake)
set(VERA_SDK_SOURCES
    sdk/retoucher.cc)

add_library(vera_sdk OBJECT ${VERA_SDK_SOURCES})
target_include_directories(vera_sdk PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
target_include_directories(vera_sdk SYSTEM PRIVATE ${VERA_JSON_FOLDER})
target_compile_options(vera_sdk PRIVATE ${VERA_STRICT_FLAGS})
target_compile_definitions(vera_sdk PRIVATE VERA_BUILDING VERA_VERSION="${PROJECT_VERSION}")
set(VERA_SDK_OBJECTS $<TARGET_OBJECTS:vera_sdk>)
