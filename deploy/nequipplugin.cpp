// SPDX-License-Identifier: GPL-2.0-only
// Entry point of nequipplugin.so: registers pair_style nequip and sets the allocator.
#include "host.h"
#include "pair_nequip.h"
#include "plugin_api.h"

#include "error.h"
#include "lammps.h"

#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace {

// glibc hands every large tensor back to the system and faults it in again at the next step:
// that was half the time of a 3,200-atom evaluation. The user's own settings win.
void keep_freed_memory()
{
#if defined(__GLIBC__)
  constexpr int mmap_threshold = 32 * 1024 * 1024;    // the largest that glibc accepts
  constexpr int trim_threshold = 1024 * 1024 * 1024;
  if (!std::getenv("MALLOC_MMAP_THRESHOLD_")) mallopt(M_MMAP_THRESHOLD, mmap_threshold);
  if (!std::getenv("MALLOC_TRIM_THRESHOLD_")) mallopt(M_TRIM_THRESHOLD, trim_threshold);
#endif
}

// Judged here and not at loading: every LAMMPS of the environment loads the plugin by itself, and
// those that do not use it must not be stopped.
void *create_pair_nequip(void *lammps)
{
  auto *host = static_cast<LAMMPS_NS::LAMMPS *>(lammps);
  const auto mismatch = tempermd::mismatch_with_host(lammps);
  if (!mismatch.empty()) host->error->all(FLERR, mismatch);
  return new LAMMPS_NS::PairNequip(host);
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void
lammpsplugin_init(void *lammps, void *handle, void *register_function)
{
  keep_freed_memory();
  lammpsplugin_t plugin;
  plugin.version = TEMPERMD_LAMMPS_VERSION;
  plugin.style = "pair";
  plugin.name = "nequip";
  plugin.info = "pair_style nequip (NequIP models)";
  plugin.author = "tempermd";
  plugin.creator.v1 = &create_pair_nequip;
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(register_function)(&plugin, lammps);
}
