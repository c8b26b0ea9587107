// SPDX-License-Identifier: GPL-2.0-only
// Equivariant linear maps of rows of blocks.
#include "block_maps.h"

namespace tempermd::native {

template <typename T> RowLayout RowLayout::of(const std::vector<BlockShape> &blocks)
{
  RowLayout layout;
  for (const auto &block : blocks) {
    layout.offsets.push_back(layout.length);
    layout.widths.push_back(padded<T>(block.channels));
    layout.dims.push_back(2 * block.l + 1);
    layout.length += layout.widths.back() * layout.dims.back();
  }
  return layout;
}

template RowLayout RowLayout::of<float>(const std::vector<BlockShape> &);
template RowLayout RowLayout::of<double>(const std::vector<BlockShape> &);

template <typename T>
BlockMaps<T>::BlockMaps(const std::vector<BlockMap> &maps, const RowLayout &input,
                        const RowLayout &output)
{
  for (const auto &map : maps) {
    Matrices found;
    found.input = {input.offsets[map.input], input.widths[map.input]};
    found.output = {output.offsets[map.output], output.widths[map.output]};
    found.dim = input.dims[map.input];
    found.rows = map.matrices.front().rows;
    found.columns = map.matrices.front().columns;
    for (const auto &matrix : map.matrices) {
      Array<T> forward(int64_t(found.rows) * found.output.width, T(0));
      Array<T> backward(int64_t(found.columns) * found.input.width, T(0));
      for (int r = 0; r < found.rows; ++r)
        for (int c = 0; c < found.columns; ++c) {
          const T value = static_cast<T>(matrix.values[int64_t(r) * found.columns + c]);
          forward[int64_t(r) * found.output.width + c] = value;
          backward[int64_t(c) * found.input.width + r] = value;
        }
      found.forward.push_back(std::move(forward));
      found.backward.push_back(std::move(backward));
    }
    maps_.push_back(std::move(found));
  }
}

template <typename T> double BlockMaps<T>::operations_per_atom() const
{
  double sum = 0.0;
  for (const auto &map : maps_) sum += 2.0 * map.dim * map.rows * map.columns;
  return sum;
}

template <typename T>
void BlockMaps<T>::add(int n, const int64_t *types, Rows<const T> x, Rows<T> y) const
{
  for (const auto &map : maps_) multiply(n, types, map, false, x, y);
}

template <typename T>
void BlockMaps<T>::add_transposed(int n, const int64_t *types, Rows<const T> d_y, Rows<T> d_x) const
{
  for (const auto &map : maps_) multiply(n, types, map, true, d_y, d_x);
}

template <typename T>
void BlockMaps<T>::multiply(int n, const int64_t *types, const Matrices &map, bool transposed,
                            Rows<const T> x, Rows<T> y) const
{
  const auto &matrices = transposed ? map.backward : map.forward;
  const Side &from = transposed ? map.output : map.input, &to = transposed ? map.input : map.output;
  const int depth = transposed ? map.columns : map.rows;
  thread_local std::vector<const T *> inputs;
  thread_local std::vector<T *> outputs;
  for (size_t type = 0; type < matrices.size(); ++type) {
    inputs.clear();
    outputs.clear();
    for (int i = 0; i < n; ++i) {
      if (matrices.size() > 1 && types[i] != static_cast<int64_t>(type)) continue;
      for (int component = 0; component < map.dim; ++component) {
        inputs.push_back(x.data + i * x.stride + from.offset + component * from.width);
        outputs.push_back(y.data + i * y.stride + to.offset + component * to.width);
      }
    }
    kernels<T>().multiply({static_cast<int>(inputs.size()), depth, to.width, inputs.data(),
                           matrices[type].data(), outputs.data(), true});
  }
}

template class BlockMaps<float>;
template class BlockMaps<double>;

}    // namespace tempermd::native
