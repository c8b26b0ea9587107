// SPDX-License-Identifier: GPL-2.0-only
// What torch knows of GPUs.
#include "device.h"

#include <ATen/Context.h>
#include <torch/cuda.h>

namespace tempermd {

int count_gpus()
{
  return torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
}

void set_tf32(bool allowed)
{
  at::globalContext().setAllowTF32CuBLAS(allowed);
}

}    // namespace tempermd
