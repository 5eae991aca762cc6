// SPDX-License-Identifier: Apache-2.0
// The arguments with which torch's pickles rebuild storages and tensors, checked and turned into
// descriptions. Nothing is allocated for a tensor.
#pragma once

#include <functional>

#include "torch_pickle.hpp"

namespace foresight::io {

class TensorReader {
 public:
  using Values = std::vector<PickledValue*>;

  /// `fail` throws an Error about the place in the file.
  explicit TensorReader(std::function<void(const std::string&)> fail) : fail_(std::move(fail)) {}

  /// ('storage', torch.FloatStorage, '12', 'cuda:0', 100): where the storage was does not matter.
  std::shared_ptr<const PickledStorage> storage(const Values& fields) const;

  /// (storage, offset, sizes, strides, requires_grad, hooks[, dtype][, flags]); the dtype only with
  /// rebuild_typed_tensor.
  std::shared_ptr<const PickledTensor> tensor(const TorchGlobal& function,
                                              const Values& arguments) const;

  /// ('cuda',) or ('cuda', 1) -> "cuda:1".
  std::string device(const Values& arguments) const;

 private:
  void check(bool holds, const std::string& problem) const {
    if (!holds) fail_(problem);
  }
  template <class Content>
  const Content& get(const PickledValue* value, const char* what) const;
  std::vector<int64_t> integers(const PickledValue* value, const char* what) const;
  void measure(PickledTensor& tensor) const;

  std::function<void(const std::string&)> fail_;
};

}  // namespace foresight::io
