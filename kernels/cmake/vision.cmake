# The vision tower is compiled for the instruction sets of decoder.cmake and chosen with the decoder.
set(VERA_VISION_OBJECTS "")
foreach(set ${VERA_DECODER_SETS})
  add_library(vera_vision_${set} OBJECT ops/vision/vision_cpu.cc)
  target_include_directories(vera_vision_${set} PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
  # vectors wider than the baseline's registers cross no function that is not inlined
  target_compile_options(vera_vision_${set} PRIVATE ${VERA_STRICT_FLAGS} -Wno-psabi
                         ${VERA_FLAGS_${set}})
  if(NOT VERA_SANITIZE) # with which unrolled loops take minutes to compile
    target_compile_options(vera_vision_${set} PRIVATE -O3)
  endif()
  target_compile_definitions(vera_vision_${set} PRIVATE VERA_BUILDING VERA_SET=${set})
  list(APPEND VERA_VISION_OBJECTS $<TARGET_OBJECTS:vera_vision_${set}>)
endforeach()
add_library(vera_vision OBJECT ops/vision/vision.cc)
target_include_directories(vera_vision PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(vera_vision PRIVATE ${VERA_STRICT_FLAGS})
target_compile_definitions(vera_vision PRIVATE VERA_BUILDING
                           "VERA_DECODER_SETS=${VERA_DECODER_LIST}")
list(APPEND VERA_VISION_OBJECTS $<TARGET_OBJECTS:vera_vision>)
