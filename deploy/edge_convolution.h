// SPDX-License-Identifier: GPL-2.0-only
// The sum over edges of a layer as one differentiable operation that stores nothing per edge.
#pragma once

#include "edge_product.h"

#include <torch/script.h>

#include <memory>

namespace tempermd {

// A layer of a file of deploy-model: its methods, and its tensor product.
struct LayerOfModel {
  torch::jit::Module module;
  std::unique_ptr<EdgeProduct> product;

  explicit LayerOfModel(torch::jit::Module layer);
  torch::Tensor call(const char *method, std::vector<c10::IValue> arguments);
};

// Rows of the graph that a convolution runs over; borrowed, edges in the order of their centres.
struct EdgeList {
  const int64_t *centres, *neighbors;
  int64_t n_edges, n_centres;
};

// sources (N, sources), harmonics (E, harmonics), basis (E, radial) -> sums (n_centres, messages).
// The radial network is evaluated chunk by chunk, and again in the backward pass.
torch::Tensor convolve(LayerOfModel &layer, const EdgeList &edges, const torch::Tensor &sources,
                       const torch::Tensor &harmonics, const torch::Tensor &basis);

}    // namespace tempermd
