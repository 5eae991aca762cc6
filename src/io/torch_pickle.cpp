// SPDX-License-Identifier: Apache-2.0
#include "torch_pickle.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "foresight/core/error.hpp"
#include "pickle_instructions.hpp"
#include "torch_tensors.hpp"

namespace foresight::io {

namespace {

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Pickle run() {
    check(bytes_.size() <= kPickleBytes, "has " + std::to_string(bytes_.size()) +
                                             " bytes, accepted are at most " +
                                             std::to_string(kPickleBytes));
    check(!bytes_.empty() && static_cast<unsigned char>(bytes_[0]) == kProtocol,
          "does not begin like a pickle of protocol 2 or newer");
    while (!stopped_) {
      here_ = at_;
      execute(u8());
    }
    check(at_ == bytes_.size(), "goes on after its end");
    check(stack_.size() == 1 && marks_.empty(),
          "ends with " + std::to_string(stack_.size()) + " values, expected one");
    pickle_.root = stack_.front();
    return std::move(pickle_);
  }

 private:
  // --- messages

  void check(bool holds, const std::string& problem) const {
    if (!holds) fail(ErrorCategory::bad_file, problem);
  }
  void check(bool holds, const char* problem) const {
    if (!holds) fail(ErrorCategory::bad_file, problem);
  }
  [[noreturn]] void fail(ErrorCategory category, const std::string& problem) const {
    throw Error(category, name_ + ": byte " + std::to_string(here_) + ": " + problem);
  }

  // --- input

  std::string_view take(std::uint64_t size) {
    check(size <= bytes_.size() - at_, "the pickle is cut off");
    const auto taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }
  template <class Number>
  Number number() {
    Number value = 0;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  unsigned char u8() { return number<unsigned char>(); }
  std::string_view line() {
    const auto end = bytes_.find('\n', at_);
    check(end != std::string_view::npos, "the pickle is cut off");
    const auto text = take(end - at_);
    ++at_;
    return text;
  }
  double big_endian_real() {
    return std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>()));
  }
  /// Two's complement, little-endian, of any length that fits an int64.
  int64_t long_integer(std::uint64_t size) {
    if (size > sizeof(int64_t))
      fail(ErrorCategory::unsupported,
           "an integer of " + std::to_string(size) + " bytes, accepted are at most 8");
    const auto digits = take(size);
    std::uint64_t value = !digits.empty() && (digits.back() & 0x80) ? ~std::uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), digits.size());
    return static_cast<int64_t>(value);
  }

  // --- stack and memo

  void push(PickledValue* value) {
    check(stack_.size() < kPickleStack, "more than a million values are open at once");
    stack_.push_back(value);
  }
  template <class Content>
  void push_new(Content&& content) {
    push(&create(std::forward<Content>(content)));
  }
  template <class Content>
  PickledValue& create(Content&& content) {
    check(pickle_.values.size() < kPickleValues, "more than two million values");
    return pickle_.values.emplace_back(PickledValue{std::forward<Content>(content)});
  }
  PickledValue* pop() {
    check(stack_.size() > (marks_.empty() ? 0 : marks_.back()),
          "takes a value where there is none");
    auto* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickledValue* top() {
    auto* value = pop();
    stack_.push_back(value);
    return value;
  }
  std::vector<PickledValue*> pop_to_mark() {
    check(!marks_.empty(), "closes a group that was not opened");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickledValue*> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  template <class Content>
  Content& expect(PickledValue* value, const char* expected) const {
    auto* content = std::get_if<Content>(&value->content);
    if (content == nullptr)
      fail(ErrorCategory::bad_file,
           std::string("found ") + kind_of(*value) + ", expected " + expected);
    return *content;
  }
  void put(std::uint32_t slot) { memo_[slot] = top(); }
  void get(std::uint32_t slot) {
    const auto found = memo_.find(slot);
    check(found != memo_.end(), "refers to value " + std::to_string(slot) + ", which is not there");
    push(found->second);
  }

  // --- containers

  void push_tuple(std::size_t size) {
    PickledSequence tuple{std::vector<PickledValue*>(size), true};
    for (std::size_t i = size; i-- > 0;) tuple.items[i] = pop();
    push_new(std::move(tuple));
  }
  void append(const std::vector<PickledValue*>& items) {
    auto& list = expect<PickledSequence>(top(), "a list");
    check(!list.tuple, "appends to a tuple");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void set_items(const std::vector<PickledValue*>& items, PickledDictionary& dictionary) const {
    check(items.size() % 2 == 0, "a key without a value");
    for (std::size_t i = 0; i < items.size(); i += 2)
      dictionary.items.emplace_back(items[i], items[i + 1]);
  }

  // --- names, calls, tensors

  void push_global(std::string_view module, std::string_view name) {
    const auto known = find_torch_global(module, name);
    if (!known)
      fail(ErrorCategory::unsupported,
           "refers to '" + std::string(module) + "." + std::string(name) +
               "', which is no part of a state dict; nothing was executed. If you trust the file, "
               "save its tensors alone in Python: torch.save(torch.load(FILE, weights_only=False)"
               "['state_dict'], NEW), or .state_dict() of a whole module");
    push_new(*known);
  }

  void reduce() {
    const auto& arguments = expect<PickledSequence>(pop(), "the arguments of a call").items;
    const auto& function = expect<TorchGlobal>(pop(), "a function");
    const TensorReader tensors(
        [this](const std::string& problem) { fail(ErrorCategory::bad_file, problem); });
    switch (function.kind) {
      case TorchGlobal::Kind::ordered_dict:
        check(arguments.empty(), "collections.OrderedDict with arguments");
        return push_new(PickledDictionary{});
      case TorchGlobal::Kind::size:
        check(arguments.size() == 1, "torch.Size needs one argument");
        expect<PickledSequence>(arguments[0], "the sizes of a torch.Size");
        return push(arguments[0]);
      case TorchGlobal::Kind::device:
        return push_new(tensors.device(arguments));
      case TorchGlobal::Kind::rebuild_tensor:
      case TorchGlobal::Kind::rebuild_typed_tensor:
        return push_new(tensors.tensor(function, arguments));
      case TorchGlobal::Kind::rebuild_parameter:
        check(arguments.size() == 3, "a parameter needs three arguments");
        expect<std::shared_ptr<const PickledTensor>>(arguments[0], "the tensor of a parameter");
        return push(arguments[0]);
      case TorchGlobal::Kind::storage:
      case TorchGlobal::Kind::dtype:
        fail(ErrorCategory::bad_file, "calls " + std::string(function.name));
    }
  }

  /// Attributes of an object: the version numbers that an OrderedDict of a state dict carries. They
  /// are not needed.
  void build() {
    const auto* state = pop();
    check(std::holds_alternative<PickledDictionary>(state->content), "attributes without names");
    expect<PickledDictionary>(top(), "an OrderedDict whose attributes are set");
  }

  void persistent_id() {
    const auto& fields = expect<PickledSequence>(pop(), "the description of a storage").items;
    const TensorReader tensors(
        [this](const std::string& problem) { fail(ErrorCategory::bad_file, problem); });
    push_new(tensors.storage(fields));
  }

  void execute(unsigned char instruction);
  bool execute_scalar(unsigned char instruction);
  bool execute_container(unsigned char instruction);

  std::string_view bytes_;
  const std::string& name_;
  std::uint64_t at_ = 0, here_ = 0;
  bool stopped_ = false;
  std::vector<PickledValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickledValue*> memo_;
  Pickle pickle_;
};

void Machine::execute(unsigned char instruction) {
  if (execute_scalar(instruction) || execute_container(instruction)) return;
  switch (instruction) {
    case kProtocol: {
      const int version = u8();
      if (version < 2 || version > 5)
        fail(ErrorCategory::unsupported,
             "pickle protocol " + std::to_string(version) + ", accepted are 2 to 5");
      return;
    }
    case kFrame:
      check(number<std::uint64_t>() <= bytes_.size() - at_, "a frame is cut off");
      return;
    case kStop:
      stopped_ = true;
      return;
    case kPop:
      if (!marks_.empty() && marks_.back() == stack_.size())
        marks_.pop_back();
      else
        pop();
      return;
    case kPopMark:
      pop_to_mark();
      return;
    case kDuplicate:
      return push(top());
    case kPut:
      return put(u8());
    case kWidePut:
      return put(number<std::uint32_t>());
    case kMemoize:
      return put(static_cast<std::uint32_t>(memo_.size()));
    case kGet:
      return get(u8());
    case kWideGet:
      return get(number<std::uint32_t>());
    case kGlobal: {
      const auto module = line(), name = line();
      return push_global(module, name);
    }
    case kStackGlobal: {
      const auto& name = expect<std::string>(pop(), "the name of a global");
      const auto& module = expect<std::string>(pop(), "the module of a global");
      return push_global(module, name);
    }
    case kReduce:
      return reduce();
    case kBuild:
      return build();
    case kPersistentId:
      return persistent_id();
    default:
      fail(ErrorCategory::unsupported, "pickle instruction " + std::to_string(instruction) +
                                           ", which no state dict uses; nothing was executed");
  }
}

bool Machine::execute_scalar(unsigned char instruction) {
  const auto text = [this](std::uint64_t size) {
    push_new(std::string(take(size)));
    return true;
  };
  switch (instruction) {
    case kNone:
      push_new(std::monostate());
      return true;
    case kTrue:
    case kFalse:
      push_new(instruction == kTrue);
      return true;
    case kInt32:
      push_new(int64_t{number<std::int32_t>()});
      return true;
    case kUInt8:
      push_new(int64_t{u8()});
      return true;
    case kUInt16:
      push_new(int64_t{number<std::uint16_t>()});
      return true;
    case kLong:
      push_new(long_integer(u8()));
      return true;
    case kWideLong:
      push_new(long_integer(number<std::uint32_t>()));
      return true;
    case kReal:
      push_new(big_endian_real());
      return true;
    case kShortText:
    case kShortOldText:
    case kShortBytes:
      return text(u8());
    case kText:
    case kOldText:
    case kBytes:
      return text(number<std::uint32_t>());
    case kWideText:
    case kWideBytes:
      return text(number<std::uint64_t>());
    default:
      return false;
  }
}

bool Machine::execute_container(unsigned char instruction) {
  switch (instruction) {
    case kMark:
      check(marks_.size() < kPickleStack, "too many open groups");
      marks_.push_back(stack_.size());
      return true;
    case kEmptyTuple:
      push_new(PickledSequence{{}, true});
      return true;
    case kTuple1:
    case kTuple2:
    case kTuple3:
      push_tuple(std::size_t{1} + instruction - kTuple1);
      return true;
    case kTuple:
      push_new(PickledSequence{pop_to_mark(), true});
      return true;
    case kEmptyList:
      push_new(PickledSequence{});
      return true;
    case kList:
      push_new(PickledSequence{pop_to_mark(), false});
      return true;
    case kAppend:
      append({pop()});
      return true;
    case kAppends:
      append(pop_to_mark());
      return true;
    case kEmptyDictionary:
      push_new(PickledDictionary{});
      return true;
    case kDictionary: {
      PickledDictionary dictionary;
      set_items(pop_to_mark(), dictionary);
      push_new(std::move(dictionary));
      return true;
    }
    case kSetItem: {
      auto *value = pop(), *key = pop();
      set_items({key, value}, expect<PickledDictionary>(top(), "a dictionary"));
      return true;
    }
    case kSetItems: {
      const auto items = pop_to_mark();
      set_items(items, expect<PickledDictionary>(top(), "a dictionary"));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

Pickle read_pickle(std::string_view bytes, const std::string& name) {
  return Machine(bytes, name).run();
}

const char* kind_of(const PickledValue& value) {
  constexpr std::array kKinds{"None",      "a truth value",   "an integer",   "a number",
                              "a text",    "a list or tuple", "a dictionary", "a global name",
                              "a storage", "a tensor"};
  static_assert(kKinds.size() == std::variant_size_v<decltype(PickledValue::content)>);
  return kKinds[value.content.index()];
}

}  // namespace foresight::io
