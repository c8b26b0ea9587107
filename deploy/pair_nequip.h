// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#pragma once

#include "pair.h"

#include "nequip_model.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairNequip : public Pair {
 public:
  explicit PairNequip(class LAMMPS *);
  ~PairNequip() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;

 private:
  void allocate();
  void load_model(const std::string &);
  void map_types(int, char **);
  void require_full_neighbor_list();
  void find_owners();
  void build_graph();
  tempermd::Evaluation evaluate();
  void add_energies(const std::vector<double> &);
  void add_forces(const std::vector<double> &);
  void add_virial(const std::vector<double> &);
  void add_atom_virial(const double[6], int64_t);
  [[noreturn]] void not_finite(const char *, int);

  std::unique_ptr<tempermd::NequipModel> model_;
  std::string model_path_;
  std::vector<int> type_map_;              // LAMMPS type -> model type, -1 for NULL
  std::vector<int> owners_;                // local or ghost atom -> local atom on this rank
  std::vector<int> nodes_;                 // local atom -> node of the graph, -1 for NULL types
  std::vector<int> locals_;                // node -> local atom
  tempermd::Graph graph_;
};

}    // namespace LAMMPS_NS
