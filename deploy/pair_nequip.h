// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#pragma once

#include "pair.h"

#include "committee.h"
#include "guard.h"
#include "layer_exchange.h"
#include "network.h"
#include "pair_profile.h"

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
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  void finish() override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  double memory_usage() override;

 private:
  void allocate();
  void forget_models();
  void set_units();
  void load_models(int, char **, int, char **);
  void set_flags();
  void form_committee();
  void require_full_neighbor_list();
  tempermd::Evaluation evaluate(class LoadedModel &);
  void add_energies(const tempermd::Evaluation &);
  void sum_forces(const LoadedModel &, const tempermd::Evaluation &, int);
  void add_forces(int);
  void guard_driver(const tempermd::Evaluation &, int);
  void ask_committee(int);
  void sum_onto_owners(std::vector<double> &, int);

  PairSettings settings_;
  tempermd::EngineChoice engine_;          // of this rank
  std::vector<std::unique_ptr<LoadedModel>> models_;    // the first drives the dynamics
  std::unique_ptr<class GhostShell> shell_;
  LayerExchange exchange_;
  Committee committee_;
  Guard guard_;
  PairProfile profile_;
  bigint computed_step_ = -1;              // since init_style
  double eV_ = 1.0;                        // in LAMMPS's unit of energy
  tempermd::Graph graph_;                  // of the model evaluated last
  std::vector<double> rows_;               // (local and ghost atoms, 3 or 9) forces, virials
  double *reversed_ = nullptr;             // what reverse_comm sums, and how many numbers per atom
  int reversed_width_ = 0;
};

}    // namespace LAMMPS_NS
