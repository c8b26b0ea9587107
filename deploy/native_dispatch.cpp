// SPDX-License-Identifier: GPL-2.0-only
// Which build of the inner loops this processor runs.
#include "native_kernels.h"

namespace tempermd::native {

namespace baseline {
const Kernels<float> &floats();
const Kernels<double> &doubles();
}    // namespace baseline

#if defined(TEMPERMD_X86)
namespace v3 {
const Kernels<float> &floats();
const Kernels<double> &doubles();
}    // namespace v3
namespace v4 {
const Kernels<float> &floats();
const Kernels<double> &doubles();
}    // namespace v4
#endif

namespace {

enum class Level { baseline, v3, v4 };

Level level()
{
#if defined(TEMPERMD_X86)
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl");
  if (v4) return Level::v4;
  if (v3) return Level::v3;
#endif
  return Level::baseline;
}

}    // namespace

template <> const Kernels<float> &kernels<float>()
{
#if defined(TEMPERMD_X86)
  if (level() == Level::v4) return v4::floats();
  if (level() == Level::v3) return v3::floats();
#endif
  return baseline::floats();
}

template <> const Kernels<double> &kernels<double>()
{
#if defined(TEMPERMD_X86)
  if (level() == Level::v4) return v4::doubles();
  if (level() == Level::v3) return v3::doubles();
#endif
  return baseline::doubles();
}

const char *kernels_name()
{
  switch (level()) {
    case Level::v4: return "x86-64-v4";
    case Level::v3: return "x86-64-v3";
    default: return "baseline";
  }
}

}    // namespace tempermd::native
