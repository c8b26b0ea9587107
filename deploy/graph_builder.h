// SPDX-License-Identifier: GPL-2.0-only
// From LAMMPS's atoms and neighbor lists to a model's graph: one node for each atom ID, ordered by
// its distance in hops from the atoms of this rank.
#pragma once

#include "pointers.h"

#include "graph.h"

#include <vector>

namespace LAMMPS_NS {

class GraphBuilder : protected Pointers {
 public:
  // type_map: LAMMPS type -> model type, -1 for types that the model leaves alone
  // cutoffs: (LAMMPS types + 1)^2, row: type of the centre, column: type of the neighbor, Angstrom
  GraphBuilder(LAMMPS *, std::vector<int> type_map, const std::vector<double> &cutoffs,
               int n_layers);

  // Throws ModelError; takes part in no communication. On several ranks and with several layers the
  // list must hold ghosts, too.
  void build(const class NeighList *, tempermd::Graph &);

  // node -> the local or ghost atom that it stands for: a local one for nodes of level 0
  const std::vector<int> &atoms() const { return atoms_; }
  double memory_usage() const;

 private:
  bool lists_are_new();
  void fold_images();
  void mark_lists(const class NeighList *);
  void add_node(int atom_index, tempermd::Graph &);
  void add_edges(int64_t centre, const class NeighList *, tempermd::Graph &);

  const std::vector<int> type_map_;
  std::vector<double> cutoffs_squared_;
  const int n_layers_;
  bigint n_builds_ = -1, last_build_ = -1;    // the state for which the next two hold
  std::vector<int> first_images_;             // atom -> first atom with its ID: a local one if any
  std::vector<char> has_list_;                // atom -> whether its neighbors are known
  std::vector<int64_t> nodes_;                // first image -> node, -1 for none
  std::vector<int> atoms_;
};

}    // namespace LAMMPS_NS
