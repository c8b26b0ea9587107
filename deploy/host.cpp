// SPDX-License-Identifier: GPL-2.0-only
// Whether the LAMMPS that has loaded the plugin is the one it was compiled for.
#include "host.h"

#include "lmptype.h"

#include <dlfcn.h>
#include <mpi.h>

// The C interface of LAMMPS has the same signatures in all versions. Weak: a program linked with
// a static library of LAMMPS may lack it, and then these checks are left out.
extern "C" {
int __attribute__((weak)) lammps_version(void *);
int __attribute__((weak)) lammps_extract_setting(void *, const char *);
int __attribute__((weak)) lammps_config_has_mpi_support();
}

namespace tempermd {

namespace {

constexpr const char *kBuildAnew = ": build the plugin anew with 'cmake -S . -B build "
                                   "-DLAMMPS_ROOT=FOLDER' for this LAMMPS";

std::string different_mpi()
{
#if defined(MPI_STUBS)
  const bool open_mpi = false, parallel = false;
#elif defined(OPEN_MPI)
  const bool open_mpi = true, parallel = true;
#else
  const bool open_mpi = false, parallel = true;
#endif
  if (lammps_config_has_mpi_support && (lammps_config_has_mpi_support() != 0) != parallel)
    return parallel ? "for MPI, but this LAMMPS has none" : "without MPI, but this LAMMPS has it";
  // Open MPI's handles are pointers to such objects, those of all others are numbers
  if ((dlsym(RTLD_DEFAULT, "ompi_mpi_comm_world") != nullptr) != open_mpi)
    return open_mpi ? "for Open MPI, but this LAMMPS has another" :
                      "for an MPI other than Open MPI, which this LAMMPS has";
  return "";
}

std::string different_sizes(void *lammps)
{
  if (!lammps_extract_setting) return "";
  const struct {
    const char *name;
    size_t size;
  } types[] = {{"tagint", sizeof(LAMMPS_NS::tagint)},
               {"imageint", sizeof(LAMMPS_NS::imageint)},
               {"bigint", sizeof(LAMMPS_NS::bigint)}};
  for (const auto &type : types) {
    const int size = lammps_extract_setting(lammps, type.name);
    if (size != static_cast<int>(type.size))
      return std::string("with ") + std::to_string(8 * type.size) + "-bit " + type.name +
          ", but this LAMMPS has " + std::to_string(8 * size) + " bits (LAMMPS_SIZES)";
  }
  return "";
}

}    // namespace

std::string mismatch_with_host(void *lammps)
{
  std::string difference;
  if (lammps_version && lammps_version(lammps) != TEMPERMD_LAMMPS_NUMBER)
    difference = "for LAMMPS " TEMPERMD_LAMMPS_VERSION ", but this is LAMMPS " +
        std::to_string(lammps_version(lammps));
  if (difference.empty()) difference = different_mpi();
  if (difference.empty()) difference = different_sizes(lammps);
  if (difference.empty()) return "";
  return "nequipplugin.so was compiled " + difference + kBuildAnew;
}

}    // namespace tempermd
