// SPDX-License-Identifier: GPL-2.0-only
// What a model sees of the atoms, and what it says of them: no LAMMPS and no torch here.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tempermd {

// What a user can mend: one sentence that names the cause.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Atoms (nodes) and the directed edges between them. Nodes lie in the order of their level: those
// of level 0 are the atoms whose energies count, those of level h are h edges away from them.
// Edges lie in the order of their centres, and both directions of a pair are present unless a
// centre is of the last level, which needs no edges.
struct Graph {
  std::vector<int64_t> atom_types;      // (N,) index into type_names
  std::vector<int64_t> centres;         // (E,) ascending
  std::vector<int64_t> neighbors;       // (E,)
  std::vector<double> edge_vectors;     // (E, 3) r_neighbor - r_centre, Angstrom
  std::vector<int64_t> nodes_within;    // (layers + 1,) nodes up to level h; empty: all of level 0
  std::vector<int64_t> edges_within;    // (layers,) edges whose centres are up to level h

  int64_t n_atoms() const { return static_cast<int64_t>(atom_types.size()); }
  int64_t n_edges() const { return static_cast<int64_t>(centres.size()); }
  int64_t n_local() const { return nodes_within.empty() ? n_atoms() : nodes_within.front(); }
  int64_t n_nodes(int level) const;    // up to this level
  int64_t n_edges(int level) const;    // whose centres are up to this level
  void clear();
  void add_edge(int64_t centre, int64_t neighbor, double dx, double dy, double dz);
};

struct Evaluation {
  std::vector<double> atomic_energies;    // (N,) eV; those of level 0 are right
  std::vector<double> edge_gradients;     // (E, 3) d(energy of level 0)/d(edge vector), eV/Angstrom
  // files compiled by nequip with positions as input give these instead of edge_gradients
  std::vector<double> forces;             // (N, 3) eV/Angstrom
  std::vector<double> virial;             // (3, 3) eV, in the sign of LAMMPS
};

}    // namespace tempermd
