// SPDX-License-Identifier: GPL-2.0-only
// Small neural networks on rows of numbers.
#include "perceptron.h"

namespace tempermd::native {

namespace {

template <typename T> void product(int n, const T *x, int x_width, int depth, const Array<T> &matrix,
                                   int columns, T *y)
{
  std::vector<const T *> from(n);
  std::vector<T *> to(n);
  for (int row = 0; row < n; ++row) {
    from[row] = x + int64_t(row) * x_width;
    to[row] = y + int64_t(row) * columns;
  }
  kernels<T>().multiply({n, depth, columns, from.data(), matrix.data(), to.data(), false});
}

}    // namespace

template <typename T>
Perceptron<T>::Perceptron(const Mlp &mlp, const std::vector<int> &columns, int width)
{
  for (const auto &one : mlp) {
    const bool last = &one == &mlp.back();
    Step step;
    step.rows = one.rows;
    step.columns = last ? width : padded<T>(one.columns);
    step.n_inputs = padded<T>(one.rows);
    step.real_columns = one.columns;
    step.matrix.assign(int64_t(step.rows) * step.columns, T(0));
    step.transposed.assign(int64_t(step.real_columns) * step.n_inputs, T(0));
    for (int r = 0; r < one.rows; ++r)
      for (int c = 0; c < one.columns; ++c) {
        const T value = static_cast<T>(one.values[int64_t(r) * one.columns + c]);
        step.matrix[int64_t(r) * step.columns + (last ? columns[c] : c)] = value;
        step.transposed[int64_t(c) * step.n_inputs + r] = value;
      }
    steps_.push_back(std::move(step));
  }
  n_inputs_ = steps_.front().n_inputs;
  n_outputs_ = width;
}

template <typename T> void Perceptron<T>::multiply(const Step &step, int n, const T *x, T *y) const
{
  product(n, x, step.n_inputs, step.rows, step.matrix, step.columns, y);
}

template <typename T>
void Perceptron<T>::multiply_transposed(const Step &step, int n, const T *d_y, T *d_x) const
{
  product(n, d_y, step.columns, step.real_columns, step.transposed, step.n_inputs, d_x);
}

template <typename T>
void Perceptron<T>::with_derivatives(int n, const T *inputs, const T *d_inputs, T *outputs,
                                     T *d_outputs) const
{
  Array<T> values, derivatives, slopes;
  const T *x = inputs, *d_x = d_inputs;
  for (const auto &step : steps_) {
    const bool last = &step == &steps_.back();
    const int64_t size = int64_t(n) * step.columns;
    Array<T> y, d_y;
    if (!last) {
      y.resize(size);
      d_y.resize(size);
    }
    T *to = last ? outputs : y.data(), *d_to = last ? d_outputs : d_y.data();
    multiply(step, n, x, to);
    multiply(step, n, d_x, d_to);
    if (last) return;
    slopes.resize(size);
    for (int row = 0; row < n; ++row)
      kernels<T>().activate(Activation::silu, T(1), step.columns, to + int64_t(row) * step.columns,
                            to + int64_t(row) * step.columns,
                            slopes.data() + int64_t(row) * step.columns);
    for (int64_t k = 0; k < size; ++k) d_to[k] *= slopes[k];
    values = std::move(y);
    derivatives = std::move(d_y);
    x = values.data();
    d_x = derivatives.data();
  }
}

template <typename T>
void Perceptron<T>::with_gradients(int n, const T *inputs, T *values, T *gradients) const
{
  std::vector<Array<T>> slopes;
  Array<T> current;
  const T *x = inputs;
  for (const auto &step : steps_) {
    const int64_t size = int64_t(n) * step.columns;
    Array<T> y(size);
    multiply(step, n, x, y.data());
    if (&step != &steps_.back()) {
      slopes.emplace_back(size);
      for (int row = 0; row < n; ++row)
        kernels<T>().activate(Activation::silu, T(1), step.columns,
                              y.data() + int64_t(row) * step.columns,
                              y.data() + int64_t(row) * step.columns,
                              slopes.back().data() + int64_t(row) * step.columns);
    }
    current = std::move(y);
    x = current.data();
  }
  for (int row = 0; row < n; ++row) values[row] = current[int64_t(row) * n_outputs_];
  Array<T> gradient(int64_t(n) * n_outputs_, T(0));
  for (int row = 0; row < n; ++row) gradient[int64_t(row) * n_outputs_] = T(1);
  for (size_t k = steps_.size(); k-- > 0;) {
    const auto &step = steps_[k];
    Array<T> before(int64_t(n) * step.n_inputs);
    T *to = k == 0 ? gradients : before.data();
    multiply_transposed(step, n, gradient.data(), to);
    if (k == 0) return;
    for (size_t i = 0; i < before.size(); ++i) before[i] *= slopes[k - 1][i];
    gradient = std::move(before);
  }
}

template class Perceptron<float>;
template class Perceptron<double>;

}    // namespace tempermd::native
