// SPDX-License-Identifier: GPL-2.0-only
// A failure of one rank as the same LAMMPS error on every rank: no rank is left waiting.
#pragma once

#include <functional>
#include <string>

namespace LAMMPS_NS {

// Collective over lmp->world. Where a rank has a fault (its sentence is not empty), all of them
// stop with the sentence of the lowest such rank.
void stop_if_any(class LAMMPS *lmp, const std::string &fault);

// What a call that may throw ModelError, or run out of memory, ends with; empty if all is well. No
// error of LAMMPS may be raised by `call`: it would not reach the other ranks.
std::string fault_of(class LAMMPS *lmp, const std::function<void()> &call);

}    // namespace LAMMPS_NS
