// SPDX-License-Identifier: GPL-2.0-only
// Features to ghosts and gradients back, between the layers of a network.
#include "layer_exchange.h"

#include "atom.h"
#include "comm.h"
#include "pair.h"
#include "platform.h"

#include <algorithm>
#include <cstring>

using namespace LAMMPS_NS;

namespace {

int doubles_in(int bytes)
{
  constexpr int size = sizeof(double);
  return (bytes + size - 1) / size;
}

template <typename T> void add(int n, const T *added, T *sums)
{
  for (int c = 0; c < n; ++c) sums[c] += added[c];
}

}    // namespace

LayerExchange::LayerExchange(LAMMPS *lmp, Pair *pair) : Pointers(lmp), pair_(pair) {}

void LayerExchange::set(const tempermd::Graph &graph, const std::vector<int> &atoms)
{
  atoms_ = &atoms;
  n_local_ = graph.nodes_within.empty() ? 0 : graph.n_local();
}

// Calls communicate() for pieces of rows that LAMMPS's buffers can hold.
template <typename Communicate> void LayerExchange::in_pieces(Communicate communicate)
{
  const double begin = platform::walltime();
  for (first_ = 0; first_ < stride_; first_ += kWidest) {
    width_ = std::min(kWidest, stride_ - first_);
    communicate();
  }
  width_ = 0;
  seconds_ += platform::walltime() - begin;
}

// Ghosts of ghosts are passed on from rank to rank, so that rows are kept for every ghost.
void LayerExchange::to_neighbors(int bytes, char *rows)
{
  stride_ = doubles_in(bytes);
  rows_.resize(static_cast<size_t>(atom->nlocal + atom->nghost) * stride_);
  const int64_t n_nodes = static_cast<int64_t>(atoms_->size());
  for (int64_t node = 0; node < n_local_; ++node)
    std::memcpy(row((*atoms_)[node]), rows + node * bytes, bytes);
  const int largest = pair_->comm_forward;
  in_pieces([&] {
    pair_->comm_forward = width_;
    comm->forward_comm(pair_);
  });
  pair_->comm_forward = largest;
  for (int64_t node = n_local_; node < n_nodes; ++node)
    std::memcpy(rows + node * bytes, row((*atoms_)[node]), bytes);
}

void LayerExchange::to_owners(int n, float *rows)
{
  sum_onto_owners(n, rows);
}

void LayerExchange::to_owners(int n, double *rows)
{
  sum_onto_owners(n, rows);
}

template <typename T> void LayerExchange::sum_onto_owners(int n, T *rows)
{
  const int bytes = n * static_cast<int>(sizeof(T));
  stride_ = doubles_in(bytes);
  floats_ = sizeof(T) == sizeof(float);
  rows_.assign(static_cast<size_t>(atom->nlocal + atom->nghost) * stride_, 0.0);
  const int64_t n_nodes = static_cast<int64_t>(atoms_->size());
  for (int64_t node = 0; node < n_nodes; ++node)
    std::memcpy(row((*atoms_)[node]), rows + node * n, bytes);
  const int largest = pair_->comm_reverse, largest_off = pair_->comm_reverse_off;
  in_pieces([&] {
    pair_->comm_reverse = pair_->comm_reverse_off = width_;
    comm->reverse_comm(pair_);
  });
  pair_->comm_reverse = largest;
  pair_->comm_reverse_off = largest_off;
  for (int64_t node = 0; node < n_local_; ++node)
    std::memcpy(rows + node * n, row((*atoms_)[node]), bytes);
}

int LayerExchange::pack_forward(int n, const int *atoms, double *buffer) const
{
  for (int k = 0; k < n; ++k) std::copy_n(piece(atoms[k]), width_, buffer + k * width_);
  return count_sent(n);
}

void LayerExchange::unpack_forward(int n, int first, const double *buffer)
{
  for (int k = 0; k < n; ++k) std::copy_n(buffer + k * width_, width_, row(first + k) + first_);
}

int LayerExchange::pack_reverse(int n, int first, double *buffer) const
{
  for (int k = 0; k < n; ++k) std::copy_n(piece(first + k), width_, buffer + k * width_);
  return count_sent(n);
}

int LayerExchange::count_sent(int n) const
{
  bytes_sent_ += static_cast<double>(n) * width_ * sizeof(double);
  return n * width_;
}

void LayerExchange::unpack_reverse(int n, const int *atoms, const double *buffer)
{
  for (int k = 0; k < n; ++k, buffer += width_) {
    if (floats_)
      add(2 * width_, reinterpret_cast<const float *>(buffer),
          reinterpret_cast<float *>(row(atoms[k]) + first_));
    else
      add(width_, buffer, row(atoms[k]) + first_);
  }
}
