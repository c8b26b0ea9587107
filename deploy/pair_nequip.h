// SPDX-License-Identifier: GPL-2.0-only
// pair_style nequip: forces of a deployed NequIP model in LAMMPS.
#pragma once

#include "pair.h"

#include "committee.h"
#include "guard.h"
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
  void finish() override { guard_.finish(); }
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  double memory_usage() override;

 private:
  // One model of the committee; the first drives the dynamics.
  struct Member {
    std::unique_ptr<tempermd::NequipModel> model;
    std::string path;
    std::vector<int> type_map;    // LAMMPS type -> model type, -1 for NULL
  };

  void allocate();
  void forget_models();
  void load_model(const std::string &);
  void map_types(Member &, int, char **);
  void set_flags();
  void choose_device();
  void say_device(int, int);
  void check_committee();
  void require_full_neighbor_list();
  void find_owners();
  void build_graph(const Member &);
  tempermd::Evaluation evaluate(Member &);
  void add_energies(const std::vector<double> &);
  void sum_forces(const Member &, const std::vector<double> &);
  void check_numbers(const Member &, const std::vector<double> &);
  void ask_committee();
  void look_at_limits();
  void add_virial(const std::vector<double> &);
  void add_atom_virial(const double[6], int64_t);

  PairSettings settings_;
  std::string device_;                     // as torch names it, of this rank
  std::vector<Member> members_;
  Committee committee_;
  Guard guard_;
  bool first_evaluation_ = true;           // since init_style
  bigint evaluated_step_ = -1;
  std::vector<double> forces_;             // (nlocal, 3) of one model
  std::vector<int> owners_;                // local or ghost atom -> local atom on this rank
  std::vector<int> nodes_;                 // local atom -> node of the graph, -1 for NULL types
  std::vector<int> locals_;                // node -> local atom
  tempermd::Graph graph_;
};

}    // namespace LAMMPS_NS
