// SPDX-License-Identifier: GPL-2.0-only
// Real spherical harmonics up to l = 3.
#include "harmonics.h"

#include <cmath>

namespace tempermd::native {

namespace {

const double k1 = std::sqrt(3.0);                                  // l = 1
const double k2 = std::sqrt(15.0), k20 = std::sqrt(5.0);           // l = 2
const double k33 = std::sqrt(35.0 / 8.0);                          // l = 3, |m| = 3
const double k32 = std::sqrt(105.0), k31 = std::sqrt(21.0 / 8.0);  // |m| = 2, 1
const double k30 = std::sqrt(7.0) / 2.0;                           // m = 0

}    // namespace

void harmonics(int l_max, const double u[3], double *y)
{
  const double x = u[0], v = u[1], z = u[2];    // v: along the polar axis
  y[0] = 1.0;
  if (l_max < 1) return;
  y[1] = k1 * x;
  y[2] = k1 * v;
  y[3] = k1 * z;
  if (l_max < 2) return;
  y[4] = k2 * x * z;
  y[5] = k2 * x * v;
  y[6] = k20 * (v * v - 0.5 * (x * x + z * z));
  y[7] = k2 * v * z;
  y[8] = 0.5 * k2 * (z * z - x * x);
  if (l_max < 3) return;
  const double ring = 4.0 * v * v - x * x - z * z;
  y[9] = k33 * x * (3.0 * z * z - x * x);
  y[10] = k32 * x * v * z;
  y[11] = k31 * ring * x;
  y[12] = k30 * v * (2.0 * v * v - 3.0 * (x * x + z * z));
  y[13] = k31 * ring * z;
  y[14] = 0.5 * k32 * v * (z * z - x * x);
  y[15] = k33 * z * (z * z - 3.0 * x * x);
}

void add_harmonics_gradient(int l_max, const double u[3], const double *d, double g[3])
{
  const double x = u[0], v = u[1], z = u[2];
  if (l_max < 1) return;
  g[0] += k1 * d[1];
  g[1] += k1 * d[2];
  g[2] += k1 * d[3];
  if (l_max < 2) return;
  g[0] += k2 * (z * d[4] + v * d[5] - x * d[8]) - k20 * x * d[6];
  g[1] += k2 * (x * d[5] + z * d[7]) + 2.0 * k20 * v * d[6];
  g[2] += k2 * (x * d[4] + v * d[7] + z * d[8]) - k20 * z * d[6];
  if (l_max < 3) return;
  const double ring = 4.0 * v * v - x * x - z * z;
  g[0] += 3.0 * k33 * ((z * z - x * x) * d[9] - 2.0 * x * z * d[15]) +
      k32 * (v * z * d[10] - v * x * d[14]) +
      k31 * ((ring - 2.0 * x * x) * d[11] - 2.0 * x * z * d[13]) - 6.0 * k30 * v * x * d[12];
  g[1] += k32 * (x * z * d[10] + 0.5 * (z * z - x * x) * d[14]) +
      8.0 * k31 * v * (x * d[11] + z * d[13]) +
      3.0 * k30 * (2.0 * v * v - x * x - z * z) * d[12];
  g[2] += 3.0 * k33 * (2.0 * x * z * d[9] + (z * z - x * x) * d[15]) +
      k32 * (x * v * d[10] + v * z * d[14]) +
      k31 * (-2.0 * x * z * d[11] + (ring - 2.0 * z * z) * d[13]) - 6.0 * k30 * v * z * d[12];
}

}    // namespace tempermd::native
