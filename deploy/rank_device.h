// SPDX-License-Identifier: GPL-2.0-only
// The device that this rank computes on, by its place among the ranks of its node.
#pragma once

#include <string>

namespace LAMMPS_NS {

// wish: see tempermd::resolve_device. Says the choice in the log; collective over lmp->world.
std::string choose_rank_device(class LAMMPS *lmp, const std::string &wish);

}    // namespace LAMMPS_NS
