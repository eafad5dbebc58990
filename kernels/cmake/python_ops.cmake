# libvera_ops: vera::render for PyTorch and vera::render.out for the ExecuTorch Python runtime.
# Both come from the environment that builds: pip install --no-build-isolation.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter)

function(vera_find_package_folder name output)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u; s = u.find_spec('${name}'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT folder)
    message(FATAL_ERROR
      "Python package '${name}' not found for ${Python_EXECUTABLE}. Install it there first "
      "(pip install torch==2.13.0 executorch==1.4.1), then build with "
      "pip install --no-build-isolation -e . ; for libvera alone use -DVERA_PYTHON_OPS=OFF.")
  endif()
  set(${output} ${folder} PARENT_SCOPE)
endfunction()

vera_find_package_folder(torch VERA_TORCH)
vera_find_package_folder(executorch VERA_EXECUTORCH)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"
  OUTPUT_VARIABLE VERA_EXT_SUFFIX OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
find_library(VERA_TORCH_CPU torch_cpu PATHS ${VERA_TORCH}/lib NO_DEFAULT_PATH NO_CACHE REQUIRED)
find_library(VERA_C10 c10 PATHS ${VERA_TORCH}/lib NO_DEFAULT_PATH NO_CACHE REQUIRED)
set(VERA_PORTABLE_LIB
    ${VERA_EXECUTORCH}/extension/pybindings/_portable_lib${VERA_EXT_SUFFIX})
if(NOT EXISTS ${VERA_PORTABLE_LIB})
  message(FATAL_ERROR "The ExecuTorch runtime ${VERA_PORTABLE_LIB} does not exist: install the "
                      "executorch==1.4.1 wheel for this Python.")
endif()

# Apart, because the headers of torch and of ExecuTorch define the same c10 names.
add_library(vera_torch OBJECT
  torch/bake_torch.cc torch/render_torch.cc ops/render/render_grad.cc)
target_include_directories(vera_torch SYSTEM PRIVATE
  ${VERA_TORCH}/include ${VERA_TORCH}/include/torch/csrc/api/include)
add_library(vera_executorch OBJECT
  executorch/bake_executorch.cc executorch/decoder_executorch.cc executorch/render_executorch.cc
  executorch/vision_executorch.cc)
target_include_directories(vera_executorch SYSTEM PRIVATE
  ${VERA_EXECUTORCH}/include
  ${VERA_EXECUTORCH}/include/executorch/runtime/core/portable_type/c10)
target_compile_definitions(vera_executorch PRIVATE C10_USING_CUSTOM_GENERATED_MACROS)
foreach(target vera_torch vera_executorch)
  target_include_directories(${target} PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE ${VERA_STRICT_FLAGS})
  set_target_properties(${target} PROPERTIES CXX_STANDARD 20)
endforeach()

add_library(vera_ops SHARED $<TARGET_OBJECTS:vera_torch> $<TARGET_OBJECTS:vera_executorch>)
target_link_libraries(vera_ops PRIVATE
  vera ${VERA_TORCH_CPU} ${VERA_C10} ${VERA_PORTABLE_LIB})
if(APPLE)
  set(VERA_ORIGIN "@loader_path")
else()
  set(VERA_ORIGIN "$ORIGIN")
endif()
# Where the wheels lie beside each other; otherwise the libraries are loaded before this one.
set_target_properties(vera_ops PROPERTIES
  LINKER_LANGUAGE CXX
  BUILD_WITH_INSTALL_RPATH ON
  INSTALL_RPATH "${VERA_ORIGIN};${VERA_ORIGIN}/../../torch/lib;${VERA_ORIGIN}/../../executorch/extension/pybindings")
install(TARGETS vera_ops LIBRARY DESTINATION vera_mobile/_lib RUNTIME DESTINATION vera_mobile/_lib)
