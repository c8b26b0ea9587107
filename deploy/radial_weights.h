// SPDX-License-Identifier: GPL-2.0-only
// The weights of a layer's paths as functions of one distance: the radial network itself, or cubic
// Hermite splines through its values and slopes.
//
// Both give rows of four parts (values, slopes, next knot's values, its slopes), which the kernels
// blend by eight numbers: see Edges in native_kernels.h.
#pragma once

#include "perceptron.h"

namespace tempermd::native {

// Bessel functions times the cutoff polynomial, of a distance over the cutoff.
// Gasteiger, Gross and Guennemann, ICLR 2020 (arXiv:2003.03123).
class RadialBasis {
 public:
  explicit RadialBasis(const NetworkDescription &);
  // values and derivatives by x (n,), each
  void evaluate(double x, double *values, double *derivatives) const;
  int size() const { return static_cast<int>(frequencies_.size()); }

 private:
  std::vector<double> frequencies_;
  double power_, factor_;
};

template <typename T> class RadialWeights {
 public:
  // columns, width: as for Perceptron
  RadialWeights(const NetworkDescription &, const Mlp &, const std::vector<int> &columns, int width,
                bool splines);

  int width() const { return width_; }

  const T *knot(int number) const { return table_.data() + int64_t(number) * 2 * width_; }

  // Without splines: rows (n, 4, width) at n scaled distances.
  void evaluate(int n, const double *x, T *rows) const;

 private:
  void evaluate(int n, const double *x, double *values, double *slopes) const;
  void tabulate(int knots);

  RadialBasis basis_;
  Perceptron<double> network_;
  int width_;
  Array<T> table_;    // (knots + 1, 2, width): values, slopes times the distance of knots
};

// Where a scaled distance lies among the knots: the knot at or below it, and what to multiply by:
// four numbers for a value, four for its derivative by the distance itself.
template <typename T>
int place_on_spline(int knots, double x, double reciprocal_cutoff, T blend[8]);

// The same eight numbers for rows of RadialWeights::evaluate.
template <typename T> void place_on_network(double reciprocal_cutoff, T blend[8]);

}    // namespace tempermd::native
