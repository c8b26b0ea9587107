// SPDX-License-Identifier: GPL-2.0-only
// Small neural networks on rows of numbers: SiLU between matrices, no biases.
#pragma once

#include "aligned.h"
#include "network_description.h"

namespace tempermd::native {

template <typename T> class Perceptron {
 public:
  // columns: where the k-th output lies in a row of `width` (a padded number)
  Perceptron(const Mlp &mlp, const std::vector<int> &columns, int width);

  int n_inputs() const { return n_inputs_; }      // padded
  int n_outputs() const { return n_outputs_; }    // padded

  // Values (n, outputs), and their derivatives for inputs that all depend on one number: inputs and
  // d_inputs (n, inputs).
  void with_derivatives(int n, const T *inputs, const T *d_inputs, T *outputs, T *d_outputs) const;

  // Of a network with one output: values (n,) and gradients (n, inputs).
  void with_gradients(int n, const T *inputs, T *values, T *gradients) const;

 private:
  struct Step {
    int rows, columns;      // of the matrix, columns padded
    Array<T> matrix;        // (rows, columns)
    int n_inputs;           // padded
    Array<T> transposed;    // (real columns, n_inputs)
    int real_columns;
  };

  void multiply(const Step &step, int n, const T *x, T *y) const;
  void multiply_transposed(const Step &step, int n, const T *d_y, T *d_x) const;

  std::vector<Step> steps_;
  int n_inputs_ = 0, n_outputs_ = 0;
};

}    // namespace tempermd::native
