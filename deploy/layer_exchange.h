// SPDX-License-Identifier: GPL-2.0-only
// Features of atoms go to the ranks that have them as ghosts, and gradients come back, between the
// layers of a network: by LAMMPS's own communication.
#pragma once

#include "pointers.h"

#include "graph.h"
#include "network.h"

#include <vector>

namespace LAMMPS_NS {

class LayerExchange : protected Pointers, public tempermd::Exchange {
 public:
  // Doubles per atom that LAMMPS's buffers must hold: wider rows go in several pieces. It is known
  // before any model is, since a hybrid style asks then.
  static constexpr int kWidest = 128;

  LayerExchange(LAMMPS *, class Pair *);
  ~LayerExchange() noexcept override {}    // both bases have one, of different kinds

  // The nodes of a graph: which atom each stands for.
  void set(const tempermd::Graph &, const std::vector<int> &atoms);

  void to_neighbors(int bytes, char *rows) override;
  void to_owners(int n, float *rows) override;
  void to_owners(int n, double *rows) override;

  // LAMMPS asks through its pair style, while an exchange is active.
  bool active() const { return width_ > 0; }
  int pack_forward(int n, const int *atoms, double *buffer) const;
  void unpack_forward(int n, int first, const double *buffer);
  int pack_reverse(int n, int first, double *buffer) const;
  void unpack_reverse(int n, const int *atoms, const double *buffer);

  // Of this rank, in all.
  double bytes_sent() const { return bytes_sent_; }
  double seconds() const { return seconds_; }

 private:
  template <typename T> void sum_onto_owners(int n, T *rows);
  int count_sent(int n) const;
  template <typename Communicate> void in_pieces(Communicate communicate);
  double *row(int atom) { return &rows_[static_cast<size_t>(atom) * stride_]; }
  const double *piece(int atom) const { return &rows_[static_cast<size_t>(atom) * stride_ + first_]; }

  Pair *pair_;
  const std::vector<int> *atoms_ = nullptr;    // node -> atom
  int64_t n_local_ = 0;                        // nodes
  int stride_ = 0;                             // doubles per atom
  int first_ = 0, width_ = 0;                  // of them, the piece in progress; 0: none
  bool floats_ = false;                        // what is summed: two floats in each double
  std::vector<double> rows_;                   // (local and ghost atoms, stride)
  mutable double bytes_sent_ = 0.0;
  double seconds_ = 0.0;
};

}    // namespace LAMMPS_NS
