// SPDX-License-Identifier: Apache-2.0
// Putting a finished folder in the place of another.
#pragma once

#include <filesystem>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

namespace foresight::io {

/// Renames folder `finished` to `target`. Where `target` exists, the two change names in one step
/// and the previous folder is then removed; filesystems that cannot exchange names get two renames,
/// between which `target` is missing for an instant. Throws Error(io_failure), with `target` as it
/// was.
void put_in_place(const std::filesystem::path& finished, const std::filesystem::path& target);

/// Creates or replaces `folder` as a whole by what `write` puts into the empty folder that it is
/// given; on any exception the previous one is untouched. An existing folder is replaced only if it
/// holds nothing but `files`, so that no user's file is lost; what a killed process left of writing
/// one of them is removed. `kind` ("bundle") names the folder in messages. Throws
/// Error(invalid_argument, io_failure), or what `write` throws.
void replace_folder(const std::filesystem::path& folder, const std::string& kind,
                    std::initializer_list<std::string_view> files,
                    const std::function<void(const std::filesystem::path&)>& write);

}  // namespace foresight::io
