// SPDX-License-Identifier: GPL-2.0-only
// A model file of NequIP: metadata, test configuration, energies and gradients of a graph.
#pragma once

#include "engine_choice.h"
#include "network.h"

namespace tempermd {

class NequipModel {
 public:
  // Reads the file and replays its test configuration; throws ModelError.
  NequipModel(const std::string &path, const EngineChoice &);
  ~NequipModel();

  // See Network::evaluate. Throws ModelError.
  Evaluation evaluate(const Graph &graph, int n_threads, Exchange *exchange = nullptr);

  double r_max() const { return r_max_; }
  int num_layers() const { return num_layers_; }            // 0: the file does not say
  Network &network() { return *network_; }
  bool shares_layers() const { return network_->shares_layers(); }
  bool exact_with_ghosts() const { return network_->exact_with_ghosts(); }
  const std::vector<std::string> &type_names() const { return type_names_; }
  int type_of(const std::string &name) const;               // -1 when unknown
  double cutoff(int64_t centre_type, int64_t neighbor_type) const;    // Angstrom
  std::string describe() const;    // one line for the log

 private:
  void read_metadata(Metadata metadata);
  void replay_test_configuration(const std::string &text, double tolerance);

  std::unique_ptr<Network> network_;
  double r_max_ = 0.0;
  int num_layers_ = 0;
  bool allow_tf32_ = false;
  std::vector<std::string> type_names_;
  std::vector<double> edge_type_cutoffs_;    // (types, types) or empty
  std::string device_, engine_, dtype_, origin_;
};

}    // namespace tempermd
