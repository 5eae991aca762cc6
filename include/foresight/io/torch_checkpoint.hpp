// SPDX-License-Identifier: Apache-2.0
// Reader of the files that torch.save writes (.pt, .pth, .ckpt): a zip archive with the tensors'
// numbers and a pickle that describes them. Nothing in the file is executed. A file is untrusted:
// nothing is allocated for a tensor before every size and offset is checked.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight::io {

/// What a checkpoint holds beside tensors: {"epoch": 3, "args.lr": 1e-3}. Types such as
/// torch.float32 and devices are texts.
using TorchScalar = std::variant<bool, int64_t, double, std::string>;

/// An open checkpoint, mapped into memory. Cheap to copy (copies share the mapping), safe to read
/// from several threads; what SafeTensors says of writing into tensors holds here too.
///
/// Dictionaries and lists inside each other become one level of names, joined by dots:
/// "state_dict.encoder.weight", "optimizer.state.0.exp_avg". A file that is one tensor has the name
/// "". Tensors that share storage in the file (tied weights) share memory.
///
/// Read are pickles of protocol 2 to 5 of dict, OrderedDict, list, tuple, torch.Size, numbers,
/// texts, None, and tensors and parameters of any strides. Any other class or function is refused
/// by its name: such a file (whole modules, configuration objects) must be converted in Python.
class FORESIGHT_API TorchCheckpoint {
 public:
  /// Opens and validates a file. Throws Error: not_found; io_failure; bad_file if it is truncated,
  /// damaged or of another format; unsupported for a name that state dicts do not use, the format
  /// of torch before 1.6, TorchScript, compressed entries, big-endian data.
  static TorchCheckpoint open(const std::filesystem::path& path);

  /// Names of the tensors in alphabetical order.
  const std::vector<std::string>& names() const noexcept;
  /// Keys of the outermost dictionary that lead to a dictionary or list with tensors, in the file's
  /// order: {"encoder", "predictor", "target_encoder"}. Empty for a plain state dict. Use one plus
  /// a dot as prefix of tensors().
  const std::vector<std::string>& groups() const noexcept;
  bool has(std::string_view name) const noexcept;

  /// The tensor on the CPU with the strides that it was saved with: a view of the mapping, which it
  /// keeps alive, or a copy where the data is not aligned for its type. Throws Error(not_found)
  /// with the nearest name; Error(bad_file) for a bool tensor with other values than 0 and 1.
  Tensor at(std::string_view name) const;

  /// Every tensor whose name begins with `prefix`, under the rest of its name, in alphabetical
  /// order; all by default.
  NamedTensors tensors(std::string_view prefix = {}) const;

  /// Shape and type without touching the data. Throw as at().
  const std::vector<int64_t>& shape(std::string_view name) const;
  at::ScalarType dtype(std::string_view name) const;

  /// What is not a tensor, by name. None is left out.
  const std::map<std::string, TorchScalar>& scalars() const noexcept;
  const std::filesystem::path& path() const noexcept;

  /// As open(), for an already opened regular file; `path` is the name in messages. Does not close
  /// `descriptor`.
  static TorchCheckpoint from_descriptor(int descriptor, const std::filesystem::path& path);

 private:
  struct Contents;
  explicit TorchCheckpoint(std::shared_ptr<const Contents> contents);
  std::shared_ptr<const Contents> contents_;
};

}  // namespace foresight::io
