// SPDX-License-Identifier: GPL-2.0-only
// A deployed NequIP model: metadata, test configuration, energies and edge gradients of a graph.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace tempermd {

// What a user can mend: one sentence that names the cause.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Atoms and the directed edges between them; both directions of a pair are present.
struct Graph {
  std::vector<int64_t> atom_types;      // (N,) index into type_names
  std::vector<int64_t> centres;         // (E,)
  std::vector<int64_t> neighbors;       // (E,)
  std::vector<double> edge_vectors;     // (E, 3) r_neighbor - r_centre, Angstrom

  int64_t n_atoms() const { return static_cast<int64_t>(atom_types.size()); }
  int64_t n_edges() const { return static_cast<int64_t>(centres.size()); }
  void clear();
  void add_edge(int64_t centre, int64_t neighbor, double dx, double dy, double dz);
};

struct Evaluation {
  std::vector<double> atomic_energies;    // (N,) eV
  std::vector<double> edge_gradients;     // (E, 3) dE/d(edge vector), eV/Angstrom
};

class NequipModel {
 public:
  // Reads the file and replays its test configuration; throws ModelError.
  explicit NequipModel(const std::string &path);
  ~NequipModel();

  // Energies of all atoms; gradients of the energy of the first n_local ones. Throws ModelError.
  Evaluation evaluate(const Graph &graph, int64_t n_local, int n_threads);

  double r_max() const { return r_max_; }
  const std::vector<std::string> &type_names() const { return type_names_; }
  int type_of(const std::string &name) const;               // -1 when unknown
  double cutoff(int64_t centre_type, int64_t neighbor_type) const;    // Angstrom
  std::string describe() const;    // one line for the log

 private:
  struct TorchModule;
  void read_metadata(const std::string &path);
  void replay_test_configuration();

  std::unique_ptr<TorchModule> module_;
  double r_max_ = 0.0;
  std::vector<std::string> type_names_;
  std::vector<double> edge_type_cutoffs_;    // (types, types) or empty
  std::string dtype_, num_layers_, checkpoint_sha256_, test_configuration_;
};

}    // namespace tempermd
