// SPDX-License-Identifier: GPL-2.0-only
// The weights of a layer's paths as functions of one distance.
#include "radial_weights.h"

#include <algorithm>
#include <cmath>

namespace tempermd::native {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kBatch = 64;    // distances whose hidden layers fit into the cache

// sin(a x) / x and its derivative; near zero by the series
void sine_over(double a, double x, double &value, double &derivative)
{
  const double phase = a * x;
  if (std::fabs(phase) < 1e-3) {
    value = a * (1.0 - phase * phase / 6.0 * (1.0 - phase * phase / 20.0));
    derivative = -a * a * phase / 3.0 * (1.0 - phase * phase / 10.0);
    return;
  }
  value = std::sin(phase) / x;
  derivative = (a * std::cos(phase) - value) / x;
}

}    // namespace

RadialBasis::RadialBasis(const NetworkDescription &network) :
    frequencies_(network.bessel), power_(network.power), factor_(network.factor)
{
}

void RadialBasis::evaluate(double x, double *values, double *derivatives) const
{
  const double p = power_;
  double cutoff = 0.0, slope = 0.0;
  if (x < 1.0) {
    const double low = std::pow(x, p - 1.0);
    const double a = 0.5 * (p + 1.0) * (p + 2.0), b = p * (p + 2.0), c = 0.5 * p * (p + 1.0);
    cutoff = 1.0 - low * x * (a - x * (b - x * c));
    slope = -low * (a * p - x * (b * (p + 1.0) - x * c * (p + 2.0)));
  }
  for (size_t n = 0; n < frequencies_.size(); ++n) {
    double value, derivative;
    sine_over(kPi * frequencies_[n], x, value, derivative);
    values[n] = factor_ / kPi * value * cutoff;
    derivatives[n] = factor_ / kPi * (derivative * cutoff + value * slope);
  }
}

template <typename T>
RadialWeights<T>::RadialWeights(const NetworkDescription &network, const Mlp &mlp,
                                const std::vector<int> &columns, int width, bool splines) :
    basis_(network), network_(mlp, columns, width), width_(width)
{
  if (splines) tabulate(network.knots);
}

template <typename T>
void RadialWeights<T>::evaluate(int n, const double *x, double *values, double *slopes) const
{
  const int inputs = network_.n_inputs();
  Array<double> basis(int64_t(n) * inputs, 0.0), d_basis(int64_t(n) * inputs, 0.0);
  for (int k = 0; k < n; ++k)
    basis_.evaluate(x[k], basis.data() + int64_t(k) * inputs, d_basis.data() + int64_t(k) * inputs);
  network_.with_derivatives(n, basis.data(), d_basis.data(), values, slopes);
}

template <typename T> void RadialWeights<T>::tabulate(int knots)
{
  table_.resize(int64_t(knots + 1) * 2 * width_);
  Array<double> values(int64_t(kBatch) * width_), slopes(int64_t(kBatch) * width_);
  std::vector<double> x(kBatch);
  const double spacing = 1.0 / knots;
  for (int first = 0; first <= knots; first += kBatch) {
    const int n = std::min(kBatch, knots + 1 - first);
    for (int k = 0; k < n; ++k) x[k] = (first + k) * spacing;
    evaluate(n, x.data(), values.data(), slopes.data());
    for (int k = 0; k < n; ++k)
      for (int c = 0; c < width_; ++c) {
        T *row = table_.data() + int64_t(first + k) * 2 * width_;
        row[c] = static_cast<T>(values[int64_t(k) * width_ + c]);
        row[width_ + c] = static_cast<T>(spacing * slopes[int64_t(k) * width_ + c]);
      }
  }
}

template <typename T> void RadialWeights<T>::evaluate(int n, const double *x, T *rows) const
{
  Array<double> values(int64_t(kBatch) * width_), slopes(int64_t(kBatch) * width_);
  for (int first = 0; first < n; first += kBatch) {
    const int count = std::min(kBatch, n - first);
    evaluate(count, x + first, values.data(), slopes.data());
    for (int k = 0; k < count; ++k) {
      T *row = rows + int64_t(first + k) * 4 * width_;
      std::copy_n(values.data() + int64_t(k) * width_, width_, row);
      std::copy_n(slopes.data() + int64_t(k) * width_, width_, row + width_);
      std::fill_n(row + 2 * width_, 2 * width_, T(0));
    }
  }
}

template <typename T>
int place_on_spline(int knots, double x, double reciprocal_cutoff, T blend[8])
{
  if (x >= 1.0) {    // beyond the cutoff of its pair of types
    std::fill_n(blend, 8, T(0));
    return 0;
  }
  const double position = x * knots;
  // a NaN lands on the first knot, and stays a NaN in the blend
  const int knot = position > 0.0 ? static_cast<int>(std::min(position, knots - 1.0)) : 0;
  const double t = position - knot, s = 1.0 - t, per_distance = knots * reciprocal_cutoff;
  blend[0] = static_cast<T>((1.0 + 2.0 * t) * s * s);
  blend[1] = static_cast<T>(t * s * s);
  blend[2] = static_cast<T>(t * t * (3.0 - 2.0 * t));
  blend[3] = static_cast<T>(-t * t * s);
  blend[4] = static_cast<T>(-6.0 * t * s * per_distance);
  blend[5] = static_cast<T>(s * (1.0 - 3.0 * t) * per_distance);
  blend[6] = static_cast<T>(6.0 * t * s * per_distance);
  blend[7] = static_cast<T>(t * (3.0 * t - 2.0) * per_distance);
  return knot;
}

template <typename T> void place_on_network(double reciprocal_cutoff, T blend[8])
{
  std::fill_n(blend, 8, T(0));
  blend[0] = T(1);
  blend[5] = static_cast<T>(reciprocal_cutoff);
}

template class RadialWeights<float>;
template class RadialWeights<double>;
template int place_on_spline(int, double, double, float *);
template int place_on_spline(int, double, double, double *);
template void place_on_network(double, float *);
template void place_on_network(double, double *);

}    // namespace tempermd::native
