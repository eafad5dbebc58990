# JSON for Modern C++: the system's header (Debian nlohmann-json3-dev), else the pinned upstream
# release. It is copied, so that a build for another machine does not see the rest of /usr/include.
set(VERA_JSON_FOLDER ${CMAKE_BINARY_DIR}/json)
find_path(VERA_JSON_SYSTEM nlohmann/json.hpp
          PATHS /usr/include /usr/local/include /opt/homebrew/include NO_CMAKE_FIND_ROOT_PATH)
if(VERA_JSON_SYSTEM)
  file(COPY ${VERA_JSON_SYSTEM}/nlohmann DESTINATION ${VERA_JSON_FOLDER})
else()
  include(FetchContent)
  # The hash that other projects pin for this archive too; checked before anything of it is used.
  FetchContent_Declare(
    nlohmann_json
    URL https://github.com/nlohmann/json/archive/refs/tags/v3.11.2.tar.gz
    URL_HASH SHA256=d69f9deb6a75e2580465c6c4c5111b89c4dc2fa94e3a85fcd2ffcd9a143d9273
    DOWNLOAD_EXTRACT_TIMESTAMP FALSE)
  FetchContent_GetProperties(nlohmann_json)
  if(NOT nlohmann_json_POPULATED)
    FetchContent_Populate(nlohmann_json)
  endif()
  file(COPY ${nlohmann_json_SOURCE_DIR}/include/nlohmann DESTINATION ${VERA_JSON_FOLDER})
endif()
