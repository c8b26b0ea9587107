// SPDX-License-Identifier: GPL-2.0-only
// A model file in LAMMPS: opened on this rank's device, its elements given to atom types, and
// evaluated on the atoms of this rank.
#pragma once

#include "pointers.h"

#include "graph_builder.h"
#include "nequip_model.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class LoadedModel : protected Pointers {
 public:
  // Collective; what is wrong with the file is an error of LAMMPS on every rank.
  LoadedModel(LAMMPS *, const std::string &name, const tempermd::EngineChoice &);

  void map_types(int n_types, char **elements);    // before the first evaluation

  // Throws ModelError; takes part in no communication.
  void build(const class NeighList *, tempermd::Graph &, class PairProfile &);

  // In units of LAMMPS, of which `eV` are an eV; empty where there are no atoms. Throws ModelError.
  // Takes part in communication if it shares_layers(), and then ends the run by itself if it fails.
  tempermd::Evaluation evaluate(double eV, const tempermd::Graph &, class PairProfile &,
                                class LayerExchange &);

  void begin_account() { model_->network().begin_account(); }
  std::string account() const { return model_->network().account(); }    // see Network
  const std::string &path() const { return path_; }
  int num_layers() const { return model_->num_layers(); }
  // Between ranks, instead of evaluating ghosts.
  bool shares_layers() const { return shares_layers_; }
  double r_max() const { return model_->r_max(); }
  bool maps(int type) const { return type_map_[type] >= 0; }    // false for NULL
  const std::vector<int> &atoms() const { return builder_->atoms(); }    // see GraphBuilder
  double memory_usage() const { return builder_ ? builder_->memory_usage() : 0.0; }

 private:
  void find(const std::string &name);
  void refuse_several_ranks();
  void choose_ghosts(const std::string &wish);

  std::string path_;
  bool shares_layers_ = false;
  std::unique_ptr<tempermd::NequipModel> model_;
  std::unique_ptr<GraphBuilder> builder_;
  std::vector<int> type_map_;    // LAMMPS type -> model type, -1 for NULL
};

}    // namespace LAMMPS_NS
