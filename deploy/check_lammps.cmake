# Finds the MPI of LAMMPS_ROOT and compiles its headers; stops with a sentence if either fails.
include(CheckCXXSymbolExists)

function(tempermd_find_mpi)
  if(NOT MPI_CXX_COMPILER AND TEMPERMD_LAMMPS_MPI_COMPILER)
    set(MPI_CXX_COMPILER "${TEMPERMD_LAMMPS_MPI_COMPILER}")
  endif()
  set(MPI_CXX_SKIP_MPICXX TRUE)
  find_package(MPI QUIET COMPONENTS CXX)
  if(NOT MPI_CXX_FOUND)
    message(FATAL_ERROR "No MPI found for LAMMPS_ROOT=${LAMMPS_ROOT}: give the compiler of the MPI "
      "that it was compiled with, -DMPI_CXX_COMPILER=/path/to/mpicxx")
  endif()

  set(CMAKE_REQUIRED_INCLUDES ${MPI_CXX_INCLUDE_DIRS})
  set(CMAKE_REQUIRED_DEFINITIONS -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  unset(tempermd_open_mpi CACHE)
  check_cxx_symbol_exists(OPEN_MPI mpi.h tempermd_open_mpi)
  set(mpi_found MPICH)
  if(tempermd_open_mpi)
    set(mpi_found OPEN_MPI)
  endif()
  if(TEMPERMD_LAMMPS_MPI AND NOT TEMPERMD_LAMMPS_MPI STREQUAL mpi_found)
    message(FATAL_ERROR "LAMMPS_ROOT=${LAMMPS_ROOT} is compiled with ${TEMPERMD_LAMMPS_MPI} or its "
      "like, but the MPI found is ${mpi_found} (${MPI_CXX_INCLUDE_DIRS}): give the compiler of the "
      "former, -DMPI_CXX_COMPILER=/path/to/mpicxx")
  endif()
  target_include_directories(tempermd_lammps SYSTEM INTERFACE ${MPI_CXX_INCLUDE_DIRS})
endfunction()

# A header may be there and lack one that it includes: some releases did not install all.
function(tempermd_compile_headers)
  list(TRANSFORM TEMPERMD_LAMMPS_HEADERS REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE lines)
  string(JOIN "" source ${lines})
  set(path "${CMAKE_CURRENT_BINARY_DIR}/headers.cpp")
  file(WRITE "${path}" "${source}")
  get_target_property(folders tempermd_lammps INTERFACE_INCLUDE_DIRECTORIES)
  get_target_property(definitions tempermd_lammps INTERFACE_COMPILE_DEFINITIONS)
  list(TRANSFORM definitions PREPEND "-D")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  try_compile(compiled "${CMAKE_CURRENT_BINARY_DIR}/headers" "${path}"
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${folders}"
    COMPILE_DEFINITIONS ${definitions}
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE output)
  if(compiled)
    return()
  endif()
  if(output MATCHES "fatal error: ([^:]+): No such file")
    message(FATAL_ERROR "LAMMPS_ROOT=${LAMMPS_ROOT} lacks the header ${CMAKE_MATCH_1}, expected in "
      "${TEMPERMD_LAMMPS_INCLUDE}: give the source tree or the build folder of that LAMMPS, or "
      "install it anew")
  endif()
  message(FATAL_ERROR "The headers in ${TEMPERMD_LAMMPS_INCLUDE} do not compile:\n${output}")
endfunction()

if(NOT TEMPERMD_LAMMPS_MPI STREQUAL "STUBS")
  tempermd_find_mpi()
endif()
tempermd_compile_headers()
