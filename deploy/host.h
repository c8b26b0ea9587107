// SPDX-License-Identifier: GPL-2.0-only
// Whether the LAMMPS that has loaded the plugin is the one it was compiled for.
#pragma once

#include <string>

namespace tempermd {

// One sentence that says what differs, or nothing. The classes of another LAMMPS are laid out
// differently, so nothing else of ours may run in it.
std::string mismatch_with_host(void *lammps);

}    // namespace tempermd
