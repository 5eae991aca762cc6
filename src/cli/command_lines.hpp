// SPDX-License-Identifier: Apache-2.0
// Command lines to repeat what a run folder tells of, as its report shows them.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace foresight::cli {

/// `text` as a POSIX shell reads one word.
std::string shell_word(const std::string& text);

/// `path` without a slash at its end, which would make its last part empty; absolute.
std::filesystem::path folder_path(const std::string& path);

/// A training like the one of `config`, a run's config.json, into a folder beside `run`. `data`:
/// where its recordings are now.
std::string train_again(const nlohmann::json& config, const std::string& data,
                        const std::string& run);

/// The evaluation of the bundle in `run` on `data`, through `camera`; as `evaluation`, a result of
/// `foresight eval`, was made; where that is null, planning in `environment`, or nowhere
/// (kNoEnvironment).
std::string eval_again(const nlohmann::json& evaluation, const std::string& data,
                       const std::string& camera, const std::string& environment,
                       const std::string& run);

}  // namespace foresight::cli
