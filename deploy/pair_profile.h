// SPDX-License-Identifier: GPL-2.0-only
// Where the time of a run goes inside the pair style, and what its ghosts and memory cost.
#pragma once

#include "pointers.h"

#include "graph.h"

#include <string>

namespace LAMMPS_NS {

class PairProfile : protected Pointers {
 public:
  enum Stage { GRAPH, NETWORK, SUMS, N_STAGES };

  PairProfile(LAMMPS *lmp, const class LayerExchange &exchange) :
      Pointers(lmp), exchange_(exchange)
  {
  }

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
  // One line, by rank 0, and one with where the driving model spent its time; collective.
  void print(const std::string &account) const;

 private:
  const LayerExchange &exchange_;
  double exchanged_s_ = 0.0, exchanged_bytes_ = 0.0;    // before this run
  double seconds_[N_STAGES] = {};
  int64_t n_steps_ = 0, n_edges_ = 0, n_local_edges_ = 0;    // the last two: of the last step
};

}    // namespace LAMMPS_NS
