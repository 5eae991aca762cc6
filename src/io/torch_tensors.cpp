// SPDX-License-Identifier: Apache-2.0
#include "torch_tensors.hpp"

#include <algorithm>
#include <limits>

#include "foresight/core/tensor.hpp"

namespace foresight::io {

namespace {

/// Most axes of a tensor; several ATen operations keep axes in a 64 bit mask.
constexpr std::size_t kMaxAxes = 64;

/// Most elements of a tensor that has more of them than its storage (strides of 0 repeat them). A
/// mask may do that; without a limit a file of a few bytes could describe a tensor of any size.
constexpr std::uint64_t kMaxRepeated = std::uint64_t{1} << 20;

}  // namespace

template <class Content>
const Content& TensorReader::get(const PickledValue* value, const char* what) const {
  const auto* content = std::get_if<Content>(&value->content);
  check(content != nullptr, std::string("found ") + kind_of(*value) + " as " + what);
  return *content;
}

std::vector<int64_t> TensorReader::integers(const PickledValue* value, const char* what) const {
  const auto& items = get<PickledSequence>(value, what).items;
  check(items.size() <= kMaxAxes, "a tensor has " + std::to_string(items.size()) +
                                      " axes, accepted are at most " + std::to_string(kMaxAxes));
  std::vector<int64_t> numbers;
  for (const auto* item : items) {
    numbers.push_back(get<int64_t>(item, what));
    check(numbers.back() >= 0, "negative number " + std::to_string(numbers.back()) + " in " + what);
  }
  return numbers;
}

std::shared_ptr<const PickledStorage> TensorReader::storage(const Values& fields) const {
  check(fields.size() == 5 && get<std::string>(fields[0], "the kind of a reference") == "storage",
        "a reference to something else than a storage");
  const auto& type = get<TorchGlobal>(fields[1], "the type of a storage");
  check(type.kind == TorchGlobal::Kind::storage,
        std::string(type.name) + " as the type of a storage");
  const auto count = get<int64_t>(fields[4], "the length of a storage");
  check(count >= 0 && count <= std::numeric_limits<int64_t>::max() /
                                   static_cast<int64_t>(c10::elementSize(type.dtype)),
        "a storage of " + std::to_string(count) + " elements");
  return std::make_shared<const PickledStorage>(
      PickledStorage{get<std::string>(fields[2], "the key of a storage"), type.dtype,
                     static_cast<std::uint64_t>(count)});
}

std::shared_ptr<const PickledTensor> TensorReader::tensor(const TorchGlobal& function,
                                                          const Values& arguments) const {
  const bool typed = function.kind == TorchGlobal::Kind::rebuild_typed_tensor;
  const std::size_t fixed = typed ? 7 : 6;
  check(arguments.size() == fixed || arguments.size() == fixed + 1,
        "a tensor with " + std::to_string(arguments.size()) + " arguments");
  PickledTensor tensor;
  tensor.storage =
      get<std::shared_ptr<const PickledStorage>>(arguments[0], "the storage of a tensor");
  tensor.offset = get<int64_t>(arguments[1], "the offset of a tensor");
  tensor.sizes = integers(arguments[2], "the sizes of a tensor");
  tensor.strides = integers(arguments[3], "the strides of a tensor");
  tensor.dtype = tensor.storage->dtype;
  if (typed) {
    const auto& type = get<TorchGlobal>(arguments[6], "the type of a tensor");
    check(type.kind == TorchGlobal::Kind::dtype, std::string(type.name) + " as type of a tensor");
    tensor.dtype = type.dtype;
  }
  if (arguments.size() > fixed &&
      !std::holds_alternative<std::monostate>(arguments[fixed]->content))
    check(get<PickledDictionary>(arguments[fixed], "the flags of a tensor").items.empty(),
          "a conjugated or negated tensor, expected one that was saved after resolve_conj() and "
          "resolve_neg()");
  measure(tensor);
  return std::make_shared<const PickledTensor>(std::move(tensor));
}

void TensorReader::measure(PickledTensor& tensor) const {
  const std::string shape = shape_string(tensor.sizes) + " with strides " +
                            shape_string(tensor.strides) + " from " + std::to_string(tensor.offset);
  check(tensor.sizes.size() == tensor.strides.size() && tensor.offset >= 0,
        "a tensor of shape " + shape + " makes no sense");
  const auto width = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  int64_t bytes = width, end = tensor.offset;
  bool empty = false, overflows = __builtin_add_overflow(end, 1, &end);
  for (std::size_t i = 0; i < tensor.sizes.size(); ++i) {
    const int64_t size = std::max<int64_t>(tensor.sizes[i], 1);  // as strides are computed
    int64_t step = 0;
    empty = empty || tensor.sizes[i] == 0;
    overflows = overflows || __builtin_mul_overflow(bytes, size, &bytes) ||
                __builtin_mul_overflow(size - 1, tensor.strides[i], &step) ||
                __builtin_add_overflow(end, step, &end);
  }
  check(!overflows, "a tensor of shape " + shape + ", whose size overflows");
  if (empty) end = tensor.offset;
  const auto& storage = *tensor.storage;
  const auto available =
      storage.count * c10::elementSize(storage.dtype) / c10::elementSize(tensor.dtype);
  check(static_cast<std::uint64_t>(end) <= available,
        "a tensor of shape " + shape + " ends at element " + std::to_string(end) +
            ", outside its storage of " + std::to_string(available));
  tensor.extent = end - tensor.offset;
  const auto elements = static_cast<std::uint64_t>(bytes / width);
  check(empty || elements <= std::max(available, kMaxRepeated),
        "a tensor of shape " + shape + " repeats the " + std::to_string(available) +
            " elements of its storage, expected one that was saved after contiguous()");
}

std::string TensorReader::device(const Values& arguments) const {
  check(arguments.size() == 1 || arguments.size() == 2, "a device needs a name and a number");
  auto text = get<std::string>(arguments[0], "the name of a device");
  if (arguments.size() == 2)
    text.append(":").append(std::to_string(get<int64_t>(arguments[1], "the number of a device")));
  return text;
}

}  // namespace foresight::io
