// SPDX-License-Identifier: GPL-2.0-only
// Seconds that the parts of the native engine take.
#include "time_account.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace tempermd::native {

void TimeAccount::add(const TimeAccount &other)
{
  for (int part = 0; part < N_PARTS; ++part) seconds_[part] += other.seconds_[part];
}

double TimeAccount::total() const
{
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0);
}

std::string TimeAccount::shares() const
{
  static constexpr const char *names[N_PARTS] = {"geometry", "edges forward", "atoms forward",
                                                 "atoms backward", "edges backward"};
  const double percent = 100.0 / std::max(total(), 1e-30);
  std::string text;
  for (int part = 0; part < N_PARTS; ++part) {
    char one[64];
    std::snprintf(one, sizeof(one), "%s%s %.1f %%", part > 0 ? ", " : "", names[part],
                  percent * seconds_[part]);
    text += one;
  }
  return text;
}

}    // namespace tempermd::native
