// SPDX-License-Identifier: Apache-2.0
// The one door to c10d, whose headers are heavy and of which a part (Gloo's, NCCL's) comes from
// packages of their own: src/train/join_processes.cpp alone includes them.
#pragma once

#include "foresight/train/process_group.hpp"

namespace foresight::train {

/// ProcessGroup::connect() where processes exchange, options being valid.
std::shared_ptr<ProcessGroup> join_processes(const Launch& launch,
                                             const ProcessGroupOptions& options);

}  // namespace foresight::train
