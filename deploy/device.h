// SPDX-License-Identifier: GPL-2.0-only
// Which device of this machine a rank computes on, as torch names it.
#pragma once

#include <string>

namespace tempermd {

int count_gpus();    // 0 where torch has no CUDA or sees no GPU

// wish: "cpu"; "cuda": a GPU by the rank's place on its node, in turn; "cuda:N"; "auto": "cuda"
// where there is a GPU, else "cpu". Returns "cpu" or "cuda:K"; throws ModelError.
std::string resolve_device(const std::string &wish, int node_rank, int n_gpus);

// Whether float32 products on a GPU may round to TF32, as the model was trained to bear.
void set_tf32(bool allowed);

}    // namespace tempermd
