// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#pragma once

#include "pair.h"

#include "nequip_model.h"

#include <functional>
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
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  double memory_usage() override;

 private:
  void allocate();
  void set_units();
  void load_model(const std::string &);
  void refuse_several_ranks();
  void map_types(int, char **);
  void require_full_neighbor_list();
  std::string fault_of(const std::function<void()> &) const;
  tempermd::Evaluation evaluate();
  void require_finite(const tempermd::Evaluation &) const;
  [[noreturn]] void not_finite(const char *, int64_t) const;
  void add_energies(const std::vector<double> &);
  void add_forces(const tempermd::Evaluation &);
  void sum_onto_owners(std::vector<double> &, int);

  std::unique_ptr<tempermd::NequipModel> model_;
  std::unique_ptr<class GraphBuilder> builder_;
  std::unique_ptr<class GhostShell> shell_;
  std::string model_path_;
  std::vector<int> type_map_;              // LAMMPS type -> model type, -1 for NULL
  double eV_ = 1.0;                        // in LAMMPS's unit of energy
  tempermd::Graph graph_;
  std::vector<double> rows_;               // (local and ghost atoms, 3 or 9) forces, virials
  double *reversed_ = nullptr;             // what reverse_comm sums, and how many numbers per atom
  int reversed_width_ = 0;
};

}    // namespace LAMMPS_NS
