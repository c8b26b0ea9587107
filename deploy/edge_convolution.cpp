// SPDX-License-Identifier: GPL-2.0-only
// The sum over edges of a layer, in chunks of edges that fit into the cache.
#include "edge_convolution.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace tempermd {

namespace {

constexpr int64_t kChunk = 512;    // edges whose weights and gradients fit into a core's cache

struct Chunk {
  int64_t first_edge, n_edges, first_centre, n_centres;
};

// Whole centres, so that no two chunks write to one row of sums.
std::vector<Chunk> chunks_of(const EdgeList &edges)
{
  std::vector<Chunk> chunks;
  int64_t first = 0;
  while (first < edges.n_edges) {
    int64_t end = std::min(first + kChunk, edges.n_edges);
    while (end < edges.n_edges && edges.centres[end] == edges.centres[end - 1]) ++end;
    const int64_t first_centre = edges.centres[first];
    chunks.push_back({first, end - first, first_centre, edges.centres[end - 1] - first_centre + 1});
    first = end;
  }
  return chunks;
}

template <typename T>
EdgeRange<T> range_of(const EdgeList &edges, const Chunk &chunk, const torch::Tensor &sources,
                      const torch::Tensor &harmonics, const torch::Tensor &weights)
{
  return {chunk.n_edges,
          edges.centres + chunk.first_edge,
          edges.neighbors + chunk.first_edge,
          chunk.first_centre,
          sources.const_data_ptr<T>(),
          harmonics.const_data_ptr<T>() + chunk.first_edge * harmonics.size(1),
          weights.const_data_ptr<T>()};
}

template <typename T>
void forward_chunks(LayerOfModel &layer, const EdgeList &edges, const torch::Tensor &sources,
                    const torch::Tensor &harmonics,
                    const torch::Tensor &basis, torch::Tensor &sums)
{
  T *rows = sums.mutable_data_ptr<T>();
  torch::NoGradGuard no_grad;
  for (const auto &chunk : chunks_of(edges)) {
    const auto weights =
        layer.call("radial", {basis.narrow(0, chunk.first_edge, chunk.n_edges)}).contiguous();
    layer.product->forward(range_of<T>(edges, chunk, sources, harmonics, weights),
                           rows + chunk.first_centre * sums.size(1));
  }
}

struct Gradients {
  torch::Tensor sources, harmonics, basis;
};

template <typename T>
Gradients backward_chunks(LayerOfModel &layer, const EdgeList &edges, const torch::Tensor &sources,
                          const torch::Tensor &harmonics, const torch::Tensor &basis,
                          const torch::Tensor &d_sums)
{
  // a neighbor belongs to many chunks, whose gradients add up
  Gradients found{torch::zeros_like(sources), torch::empty_like(harmonics),
                  torch::empty_like(basis)};
  T *d_harmonics = found.harmonics.mutable_data_ptr<T>();
  for (const auto &chunk : chunks_of(edges)) {
    torch::AutoGradMode with_gradients(true);
    auto leaf = basis.narrow(0, chunk.first_edge, chunk.n_edges).detach().requires_grad_(true);
    const auto weights = layer.call("radial", {leaf});
    const auto values = weights.detach().contiguous();
    auto d_weights = torch::empty_like(values);
    layer.product->backward(range_of<T>(edges, chunk, sources, harmonics, values),
                            d_sums.const_data_ptr<T>() + chunk.first_centre * d_sums.size(1),
                            found.sources.mutable_data_ptr<T>(),
                            d_harmonics + chunk.first_edge * harmonics.size(1),
                            d_weights.mutable_data_ptr<T>());
    const auto d_basis = torch::autograd::grad({weights}, {leaf}, {d_weights}).at(0);
    torch::NoGradGuard no_grad;
    found.basis.narrow(0, chunk.first_edge, chunk.n_edges).copy_(d_basis);
  }
  return found;
}

class Convolution : public torch::autograd::Function<Convolution> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext *context,
                               const torch::Tensor &sources, const torch::Tensor &harmonics,
                               const torch::Tensor &basis, LayerOfModel *layer,
                               const EdgeList &edges)
  {
    context->save_for_backward({sources, harmonics, basis});
    context->saved_data["layer"] = reinterpret_cast<int64_t>(layer);
    context->saved_data["centres"] = reinterpret_cast<int64_t>(edges.centres);
    context->saved_data["neighbors"] = reinterpret_cast<int64_t>(edges.neighbors);
    context->saved_data["n_edges"] = edges.n_edges;
    context->saved_data["n_centres"] = edges.n_centres;
    const auto columns = layer->product->rows().messages;
    auto sums = torch::zeros({edges.n_centres, columns}, sources.options());
    if (sources.scalar_type() == torch::kFloat64)
      forward_chunks<double>(*layer, edges, sources, harmonics, basis, sums);
    else
      forward_chunks<float>(*layer, edges, sources, harmonics, basis, sums);
    return sums;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list outputs)
  {
    const auto saved = context->get_saved_variables();
    auto number = [&](const char *key) { return context->saved_data[key].toInt(); };
    auto &layer = *reinterpret_cast<LayerOfModel *>(number("layer"));
    const EdgeList edges{reinterpret_cast<const int64_t *>(number("centres")),
                         reinterpret_cast<const int64_t *>(number("neighbors")),
                         number("n_edges"), number("n_centres")};
    const auto d_sums = outputs[0].contiguous();
    const auto found = saved[0].scalar_type() == torch::kFloat64
        ? backward_chunks<double>(layer, edges, saved[0], saved[1], saved[2], d_sums)
        : backward_chunks<float>(layer, edges, saved[0], saved[1], saved[2], d_sums);
    return {found.sources, found.harmonics, found.basis, {}, {}};
  }
};

std::unique_ptr<EdgeProduct> product_of(const torch::jit::Module &layer)
{
  const auto where = layer.attr("terms").toTensor().contiguous();                  // (T, 5)
  const auto coefficients = layer.attr("coefficients").toTensor().contiguous();    // (T,)
  const auto lengths = layer.attr("row_lengths").toTensor().contiguous();          // (4,)
  std::vector<CouplingOutput> outputs;
  for (int64_t t = 0; t < where.size(0); ++t) {
    const int64_t *row = where.const_data_ptr<int64_t>() + 5 * t;
    if (outputs.empty() || outputs.back().message != row[2])
      outputs.push_back({row[2], row[3], row[4], {}});
    outputs.back().terms.push_back({row[0], row[1], coefficients.const_data_ptr<double>()[t]});
  }
  const int64_t *n = lengths.const_data_ptr<int64_t>();
  return std::make_unique<EdgeProduct>(std::move(outputs), RowLengths{n[0], n[1], n[2], n[3]});
}

}    // namespace

LayerOfModel::LayerOfModel(torch::jit::Module layer) :
    module(std::move(layer)), product(product_of(module))
{
}

torch::Tensor LayerOfModel::call(const char *method, std::vector<c10::IValue> arguments)
{
  return module.get_method(method)(std::move(arguments)).toTensor();
}

torch::Tensor convolve(LayerOfModel &layer, const EdgeList &edges, const torch::Tensor &sources,
                       const torch::Tensor &harmonics, const torch::Tensor &basis)
{
  return Convolution::apply(sources.contiguous(), harmonics.contiguous(), basis.contiguous(),
                            &layer, edges);
}

}    // namespace tempermd
