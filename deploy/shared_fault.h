// SPDX-License-Identifier: GPL-2.0-only
// A failure of one rank as the same LAMMPS error on every rank: no rank is left waiting.
#pragma once

#include <string>

namespace LAMMPS_NS {

// Collective over lmp->world. Where a rank has a fault (its sentence is not empty), all of them stop
// with the sentence of the lowest such rank.
void stop_if_any(class LAMMPS *lmp, const std::string &fault);

}    // namespace LAMMPS_NS
