// SPDX-License-Identifier: GPL-2.0-only
// Equivariant linear maps of rows of blocks: each component of a block is multiplied by the same
// small matrix, which may depend on the atom's type.
#pragma once

#include "aligned.h"
#include "network_description.h"

namespace tempermd::native {

// Where the blocks of a row lie.
struct RowLayout {
  std::vector<int> offsets, widths, dims;    // of each block; widths: padded channels
  int length = 0;                            // of the row

  RowLayout() = default;
  template <typename T> static RowLayout of(const std::vector<BlockShape> &blocks);
};

// Rows of atoms: row i begins at data + i * stride.
template <typename T> struct Rows {
  T *data;
  int64_t stride;
};

template <typename T> class BlockMaps {
 public:
  BlockMaps(const std::vector<BlockMap> &maps, const RowLayout &input, const RowLayout &output);

  double operations_per_atom() const;    // of one direction

  // y += map(x) of n atoms of these types; x and y must not overlap
  void add(int n, const int64_t *types, Rows<const T> x, Rows<T> y) const;
  // d_x += transposed map(d_y)
  void add_transposed(int n, const int64_t *types, Rows<const T> d_y, Rows<T> d_x) const;

 private:
  struct Side {
    int offset, width;
  };
  struct Matrices {
    Side input, output;
    int dim, rows, columns;                // rows, columns: without padding
    std::vector<Array<T>> forward;         // (rows, padded columns), one or one for each type
    std::vector<Array<T>> backward;        // (columns, padded rows)
  };

  void multiply(int n, const int64_t *types, const Matrices &map, bool transposed, Rows<const T> x,
                Rows<T> y) const;

  std::vector<Matrices> maps_;
};

}    // namespace tempermd::native
