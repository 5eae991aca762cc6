// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/bundle.hpp"

#include "descriptor.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/json_file.hpp"
#include "import_hint.hpp"
#include "swap_folders.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

constexpr int kReadAttempts = 10;

void check_head_tensors(const BundleConfig& config, const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with(kHeadPrefix)) continue;
    const auto rest = name.substr(std::string_view(kHeadPrefix).size());
    const auto head = rest.substr(0, rest.find('.'));
    require(config.heads.contains(head), ErrorCategory::invalid_argument,
            "bundle: tensor '" + name + "' belongs to head '" + head +
                "', which the configuration does not list");
  }
}

Descriptor open_folder(const fs::path& path) {
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder && errno == ENOTDIR)
    throw Error(ErrorCategory::bad_file, path.string() +
                                             ": is a file, expected a bundle: a folder with "
                                             "config.json and model.safetensors" +
                                             kImportHint);
  if (!folder) throw system_error(path, "open the bundle");
  return folder;
}

/// A file of a bundle. Without one the folder is none.
Descriptor open_part(const Descriptor& folder, const char* name, const fs::path& shown,
                     struct stat& status) {
  try {
    return open_regular(folder.get(), name, shown, status);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::not_found) throw;
    throw Error(error.category(), error.what() + std::string("; a bundle has it") + kImportHint);
  }
}

BundleConfig config_from(const Descriptor& folder, const fs::path& shown) {
  struct stat status{};
  const auto path = shown / kBundleConfigFile;
  const auto text =
      read_all(open_part(folder, kBundleConfigFile, path, status), status, path, kTextLimit);
  return read_bundle_config(parse_json(text, path.string()), path.string());
}

/// Both files through one handle of the folder: if the folder is replaced meanwhile, they still
/// belong together.
Bundle read_from(const Descriptor& folder, const fs::path& shown) {
  auto config = config_from(folder, shown);
  struct stat status {};
  const auto path = shown / kBundleTensorsFile;
  const auto file = open_part(folder, kBundleTensorsFile, path, status);
  return {std::move(config), SafeTensors::from_descriptor(file.get(), path)};
}

/// Whether `path` now leads to another folder than the opened one.
bool was_replaced(const Descriptor& folder, const fs::path& path) {
  struct stat opened {
  }, named{};
  return ::fstat(folder.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         (opened.st_ino != named.st_ino || opened.st_dev != named.st_dev);
}

/// What `read` finds in the folder at `path`. Where a writer replaced the bundle and removed the
/// files of the one that was opened, the new one is read.
template <class Read>
auto read_current(const fs::path& path, const Read& read) {
  for (int attempt = 1;; ++attempt) {
    const auto folder = open_folder(path);
    try {
      return read(folder, path);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::not_found || attempt == kReadAttempts ||
          !was_replaced(folder, path))
        throw;
    }
  }
}

}  // namespace

bool is_bundle(const fs::path& folder) {
  std::error_code ignored;
  const auto file = folder / kBundleConfigFile;
  if (!fs::exists(file, ignored)) return false;
  try {
    const auto config = read_json(file);
    return config.is_object() && config.contains("schema");
  } catch (const Error&) {
    return false;
  }
}

void write_bundle(const fs::path& folder, const BundleConfig& config, const NamedTensors& tensors) {
  throw_if_any(config.validate());
  check_head_tensors(config, tensors);
  std::error_code ignored;
  for (const auto* part : {kBundleConfigFile, kBundleTensorsFile})
    require(
        !fs::exists(folder / part, ignored) || is_bundle(folder), ErrorCategory::invalid_argument,
        folder.string() + ": holds '" + part +
            "' and no config.json of a bundle, which has a 'schema': perhaps another project's; "
            "a bundle is written to a new or empty folder, or over another bundle");
  replace_folder(folder, "bundle", {kBundleConfigFile, kBundleTensorsFile},
                 [&](const fs::path& temporary) {
                   write_json(temporary / kBundleConfigFile, write_bundle_config(config));
                   write_with_checksum(temporary / kBundleTensorsFile, tensors, {{"format", "pt"}});
                 });
}

BundleConfig read_bundle_config(const fs::path& folder) {
  return read_current(folder, config_from);
}

Bundle read_bundle(const fs::path& path) { return read_current(path, read_from); }

NamedTensors Bundle::model_tensors() const {
  NamedTensors own;
  for (const auto& name : tensors.names())
    if (!name.starts_with(kHeadPrefix) && !name.starts_with(kImportedPrefix))
      own.emplace_back(name, tensors.at(name));
  return own;
}

NamedTensors Bundle::head_tensors(std::string_view head) const {
  if (!config.heads.contains(std::string(head))) {
    std::string known;
    for (const auto& [name, options] : config.heads.items())
      known += (known.empty() ? "" : ", ") + name;
    throw Error(ErrorCategory::not_found,
                tensors.path().parent_path().string() + ": no head '" + std::string(head) +
                    "' in this bundle, it has: " + (known.empty() ? "none" : known));
  }
  return tensors.tensors(kHeadPrefix + std::string(head) + ".");
}

NamedTensors with_head_prefix(std::string_view head, const NamedTensors& tensors) {
  NamedTensors named;
  for (const auto& [name, tensor] : tensors)
    named.emplace_back(kHeadPrefix + std::string(head) + "." + name, tensor);
  return named;
}

}  // namespace foresight::io
