// SPDX-License-Identifier: GPL-2.0-only
// Real spherical harmonics up to l = 3 of unit vectors, and the gradient of what depends on them.
//
// The polynomials and their order are those of e3nn: y is the polar axis, m runs from -l to l, and
// the squares of each l sum to 2l + 1 ("component" normalization).
#pragma once

namespace tempermd::native {

constexpr int n_harmonics(int l_max) { return (l_max + 1) * (l_max + 1); }

// u: (3,) a unit vector; y: (n_harmonics,)
void harmonics(int l_max, const double u[3], double *y);

// Adds to g (3,) the sum of d[h] times the gradient of the h-th polynomial at u.
void add_harmonics_gradient(int l_max, const double u[3], const double *d, double g[3]);

}    // namespace tempermd::native
