# bptt::bptt     bptt.h and the static library
# bptt::headers  the headers alone, for extension modules of Python that include bptt_capsule.h

include(CMakeFindDependencyMacro)
find_dependency(Threads)

get_filename_component(_bptt "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET bptt::bptt)
  add_library(bptt::headers INTERFACE IMPORTED)
  set_target_properties(bptt::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_bptt}/include")

  add_library(bptt::bptt STATIC IMPORTED)
  set_target_properties(bptt::bptt PROPERTIES
    IMPORTED_LOCATION "${_bptt}/lib/${CMAKE_STATIC_LIBRARY_PREFIX}bptt${CMAKE_STATIC_LIBRARY_SUFFIX}"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_LINK_LIBRARIES "bptt::headers;Threads::Threads$<$<BOOL:${UNIX}>:;m>")
endif()

unset(_bptt)
