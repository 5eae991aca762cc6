// SPDX-License-Identifier: Apache-2.0
// The part of Python's pickle format in which torch.save writes state dicts, as data. A pickle is a
// program for a small stack machine; this machine knows the instructions that build numbers, texts,
// lists, dictionaries and descriptions of tensors, and nothing that could run code: a global name
// is looked up in a fixed table (torch_globals.hpp) and is otherwise an error that names it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "torch_globals.hpp"

namespace foresight::io {

struct PickledValue;

/// Numbers of one type that lie in an entry of their own, data/<key>.
struct PickledStorage {
  std::string key;
  at::ScalarType dtype = at::kByte;  ///< bytes if untyped
  std::uint64_t count = 0;           ///< elements
};

/// A strided view of a storage, in elements of `dtype`. It lies inside the storage.
struct PickledTensor {
  std::shared_ptr<const PickledStorage> storage;
  at::ScalarType dtype = at::kFloat;
  int64_t offset = 0;
  int64_t extent = 0;  ///< elements from the first to the last one, both included; 0 if empty
  std::vector<int64_t> sizes, strides;
};

struct PickledSequence {
  std::vector<PickledValue*> items;
  bool tuple = false;
};

struct PickledDictionary {
  std::vector<std::pair<PickledValue*, PickledValue*>> items;
};

/// One value. std::monostate is None; std::string is a text or bytes.
struct PickledValue {
  std::variant<std::monostate, bool, int64_t, double, std::string, PickledSequence,
               PickledDictionary, TorchGlobal, std::shared_ptr<const PickledStorage>,
               std::shared_ptr<const PickledTensor>>
      content;
};

/// All values of a pickle. They refer to each other freely, also in circles.
struct Pickle {
  std::deque<PickledValue> values;
  const PickledValue* root = nullptr;
};

/// Most bytes, values, and values on the stack of a pickle that is read: far above any state dict.
inline constexpr std::uint64_t kPickleBytes = std::uint64_t{64} << 20;
inline constexpr std::size_t kPickleValues = 2'000'000;
inline constexpr std::size_t kPickleStack = 1'000'000;

/// Reads a pickle of protocol 2 to 5. `name` opens every message. Throws Error: unsupported for a
/// global or instruction that state dicts do not use; bad_file for one that is cut off,
/// contradicts itself or exceeds the limits.
Pickle read_pickle(std::string_view bytes, const std::string& name);

/// "a dictionary", for messages.
const char* kind_of(const PickledValue& value);

}  // namespace foresight::io
