# The decoder is compiled once for each instruction set; decoder.cc chooses at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|i.86")
  set(VERA_DECODER_SETS avx512vnni avx2 plain)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(VERA_DECODER_SETS neon_dotprod neon)
else()
  set(VERA_DECODER_SETS plain)
endif()
set(VERA_FLAGS_plain "")
set(VERA_FLAGS_avx2 -mavx2 -mf16c -mfma)
set(VERA_FLAGS_avx512vnni -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mf16c -mfma
    -mprefer-vector-width=512)
set(VERA_FLAGS_neon "")
set(VERA_FLAGS_neon_dotprod -march=armv8.2-a+dotprod)

set(VERA_DECODER_LIST "")
foreach(set ${VERA_DECODER_SETS})
  string(APPEND VERA_DECODER_LIST "X(${set}) ")
  add_library(vera_decoder_${set} OBJECT ops/decoder/decoder_cpu.cc)
  target_include_directories(vera_decoder_${set} PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
  # vectors wider than the baseline's registers cross no function that is not inlined
  target_compile_options(vera_decoder_${set} PRIVATE ${VERA_STRICT_FLAGS} -Wno-psabi
                         ${VERA_FLAGS_${set}})
  if(NOT VERA_SANITIZE) # with which unrolled loops take long to compile
    target_compile_options(vera_decoder_${set} PRIVATE -O3)
  endif()
  target_compile_definitions(vera_decoder_${set} PRIVATE VERA_BUILDING VERA_SET=${set})
  list(APPEND VERA_DECODER_OBJECTS $<TARGET_OBJECTS:vera_decoder_${set}>)
endforeach()
add_library(vera_decoder OBJECT ops/decoder/decoder.cc cpu/pool.cc)
target_include_directories(vera_decoder PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(vera_decoder PRIVATE ${VERA_STRICT_FLAGS})
target_compile_definitions(vera_decoder PRIVATE VERA_BUILDING
                           "VERA_DECODER_SETS=${VERA_DECODER_LIST}")
list(APPEND VERA_DECODER_OBJECTS $<TARGET_OBJECTS:vera_decoder>)
