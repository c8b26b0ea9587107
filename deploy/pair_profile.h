// SPDX-License-Identifier: GPL-2.0-only
// Where the time of a run goes inside the pair style, and what its ghosts and memory cost.
#pragma once

#include "pointers.h"

#include "graph.h"

namespace LAMMPS_NS {

class PairProfile : protected Pointers {
 public:
  enum Stage { GRAPH, NETWORK, SUMS, N_STAGES };

  explicit PairProfile(LAMMPS *lmp) : Pointers(lmp) {}

  // Adds the time until its end to a stage.
  class Lap {
   public:
    Lap(PairProfile &profile, Stage stage);
    ~Lap();

   private:
    double &sum_, begin_;
  };

  void begin_run();
  void count(const tempermd::Graph &);    // of the driving model
  void print() const;                     // one line, by rank 0; collective

 private:
  double seconds_[N_STAGES] = {};
  int64_t n_steps_ = 0, n_edges_ = 0, n_local_edges_ = 0;    // the last two: of the last step
};

}    // namespace LAMMPS_NS
