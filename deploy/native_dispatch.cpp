// SPDX-License-Identifier: GPL-2.0-only
// Which build of the inner loops this processor runs.
#include "native_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <string>

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

Level of_processor()
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

// TEMPERMD_KERNELS takes an older kind than the processor's, for tests: baseline or v3.
Level chosen()
{
  const char *variable = std::getenv("TEMPERMD_KERNELS");
  const std::string wish = variable ? variable : "";
  Level wanted = Level::v4;
  if (wish == "v3") wanted = Level::v3;
  if (wish == "baseline") wanted = Level::baseline;
  return std::min(wanted, of_processor());
}

Level level()
{
  static const Level once = chosen();
  return once;
}

template <typename T>
const Kernels<T> &of_level(const Kernels<T> &baseline, const Kernels<T> &v3, const Kernels<T> &v4)
{
  if (level() == Level::v4) return v4;
  return level() == Level::v3 ? v3 : baseline;
}

}    // namespace

#if !defined(TEMPERMD_X86)
namespace v3 = baseline;
namespace v4 = baseline;
#endif

template <> const Kernels<float> &kernels<float>()
{
  return of_level(baseline::floats(), v3::floats(), v4::floats());
}

template <> const Kernels<double> &kernels<double>()
{
  return of_level(baseline::doubles(), v3::doubles(), v4::doubles());
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
