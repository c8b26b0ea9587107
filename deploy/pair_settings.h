// SPDX-License-Identifier: GPL-2.0-only
// The words that follow 'pair_style nequip':
//
//   pair_style nequip [device cpu|cuda|cuda:N|auto] [engine native|torch|auto]
//                     [radial spline|network|auto] [ghosts exchange|extended|auto]
//                     [committee every N]
//                     [guard every N [shortest D] [force F] [deviation S] [action error|stop]]
//
// device     cpu (default); cuda: one GPU per rank of a node, in turn; cuda:N: that GPU for every
//            rank; auto: cuda where torch sees a GPU, else cpu
// engine     native: our own, for the CPU; torch: TorchScript or AOTInductor; auto (default): native
//            where the device is the CPU and the file has what it needs
// radial     of the native engine: splines through the radial networks' values, or the networks
//            themselves; auto (default): splines for models in single precision
// ghosts     on several ranks: exchange what atoms know between the layers, or extend the shell of
//            ghosts to one cutoff for each layer; auto (default): exchange with the native engine
// committee  how often the models after the first are evaluated (default: every 10 steps)
// guard      limits looked at every N steps, in the units of the run: shortest distance between
//            atoms, largest force on an atom, largest committee deviation. Energies and forces
//            that are not finite are violations at every step, with or without this word.
//            action: what a violation does: error at once (default), or stop at the end of the
//            step, save a restart and the frame, then error.
#pragma once

#include "engine_choice.h"

#include "lmptype.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class LAMMPS;

struct GuardSettings {
  bigint every = 0;          // 0: none of the limits is looked at
  double shortest = -1.0;    // a negative limit is not set
  double force = -1.0;
  double deviation = -1.0;
  bool stop = false;         // false: error
};

struct PairSettings {
  tempermd::EngineChoice engine;
  bool committee = false;    // the word was given
  bigint committee_every = 10;
  GuardSettings guard;
};

// Ends in LAMMPS's error->all, in one sentence that says what was expected and what came.
PairSettings parse_pair_settings(const std::vector<std::string> &words, LAMMPS *lmp);

}    // namespace LAMMPS_NS
