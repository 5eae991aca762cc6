// SPDX-License-Identifier: Apache-2.0
// Environments and their scripted policies by name, for the command line and for configuration
// files.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/envs/env.hpp"
#include "foresight/envs/policies.hpp"

namespace foresight::envs {

/// Names that make_env() knows.
FORESIGHT_API std::vector<std::string> env_names();

/// Makes an environment; `options` overrides the defaults of its option struct. Throws
/// Error(not_found) for an unknown name, Error(invalid_option) for bad options.
FORESIGHT_API std::unique_ptr<Env> make_env(std::string_view name, const nlohmann::json& options);
FORESIGHT_API std::unique_ptr<Env> make_env(std::string_view name);

/// Names that make_policy() knows.
FORESIGHT_API std::vector<std::string> policy_names();

/// Makes a scripted policy with default options: "random", "still", "straight" or "expert" (noisy,
/// as in the recordings) or "expert_exact" (no noise). Throws Error(not_found) for an unknown name.
FORESIGHT_API std::unique_ptr<ScriptedPolicy> make_policy(std::string_view name);

}  // namespace foresight::envs
