# The version is that of bptt.h. Later versions do what earlier ones did (bptt.h, Growth).

file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../../../include/bptt.h" _bptt_version REGEX "#define BPTT_VERSION_")
string(REGEX REPLACE "[^0-9;]" "" _bptt_version "${_bptt_version}")
string(REPLACE ";" "." PACKAGE_VERSION "${_bptt_version}")

if(PACKAGE_FIND_VERSION VERSION_LESS_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()

unset(_bptt_version)
