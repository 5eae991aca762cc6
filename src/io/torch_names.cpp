// SPDX-License-Identifier: Apache-2.0
#include "torch_names.hpp"

#include "foresight/core/error.hpp"

namespace foresight::io {

namespace {

constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxVisits = 1'000'000;
constexpr std::size_t kMaxNameBytes = std::size_t{64} << 20;

class Namer {
 public:
  explicit Namer(const std::string& file) : file_(file) {}

  TorchNames run(const PickledValue& root) {
    visit(root, {}, 0);
    find_groups(root);
    return std::move(names_);
  }

 private:
  void visit(const PickledValue& value, const std::string& name, int depth) {
    name_bytes_ += name.size();
    const bool reasonable =
        depth <= kMaxDepth && ++visits_ <= kMaxVisits && name_bytes_ <= kMaxNameBytes;
    require(reasonable, ErrorCategory::bad_file,
            file_ + ": nested deeper or longer than a state dict, at '" + name.substr(0, 200) +
                "'; at most " + std::to_string(kMaxDepth) + " levels and " +
                std::to_string(kMaxVisits) + " values are read");
    std::visit([&](const auto& content) { add(content, name, depth); }, value.content);
  }

  static std::string below(const std::string& name, const std::string& key, int depth) {
    return depth == 0 ? key : name + "." + key;
  }

  void add(std::monostate, const std::string&, int) {}
  void add(bool value, const std::string& name, int) { add_scalar(name, value); }
  void add(int64_t value, const std::string& name, int) { add_scalar(name, value); }
  void add(double value, const std::string& name, int) { add_scalar(name, value); }
  void add(const std::string& value, const std::string& name, int) { add_scalar(name, value); }
  void add(const PickledSequence& sequence, const std::string& name, int depth) {
    for (std::size_t i = 0; i < sequence.items.size(); ++i)
      visit(*sequence.items[i], below(name, std::to_string(i), depth), depth + 1);
  }
  void add(const PickledDictionary& dictionary, const std::string& name, int depth) {
    for (const auto& [key, value] : dictionary.items)
      visit(*value, below(name, key_text(*key, name), depth), depth + 1);
  }
  void add(const TorchGlobal& global, const std::string& name, int) {
    add_scalar(name, std::string(global.name));
  }
  void add(const std::shared_ptr<const PickledStorage>&, const std::string& name, int) {
    throw Error(ErrorCategory::unsupported,
                file_ + ": '" + name + "' is a storage without a tensor, expected tensors");
  }
  void add(const std::shared_ptr<const PickledTensor>& tensor, const std::string& name, int) {
    require(names_.tensors.emplace(name, tensor).second, ErrorCategory::bad_file,
            file_ + ": two tensors are called '" + name + "'");
  }

  void add_scalar(const std::string& name, TorchScalar value) {
    require(names_.scalars.emplace(name, std::move(value)).second, ErrorCategory::bad_file,
            file_ + ": two values are called '" + name + "'");
  }

  std::string key_text(const PickledValue& key, const std::string& name) const {
    if (const auto* text = std::get_if<std::string>(&key.content)) return *text;
    if (const auto* number = std::get_if<int64_t>(&key.content)) return std::to_string(*number);
    throw Error(ErrorCategory::unsupported, file_ + ": dictionary '" + name + "' has " +
                                                kind_of(key) +
                                                " as a key, expected texts or integers");
  }

  void find_groups(const PickledValue& root) {
    const auto* dictionary = std::get_if<PickledDictionary>(&root.content);
    if (!dictionary) return;
    for (const auto& [key, value] : dictionary->items) {
      const bool nested = std::holds_alternative<PickledDictionary>(value->content) ||
                          std::holds_alternative<PickledSequence>(value->content);
      const auto name = key_text(*key, {});
      const auto prefix = name + ".";
      const auto first = names_.tensors.lower_bound(prefix);
      if (nested && first != names_.tensors.end() && first->first.starts_with(prefix))
        names_.groups.push_back(name);
    }
  }

  const std::string& file_;
  TorchNames names_;
  std::size_t visits_ = 0, name_bytes_ = 0;
};

}  // namespace

TorchNames name_tensors(const Pickle& pickle, const std::string& file) {
  return Namer(file).run(*pickle.root);
}

}  // namespace foresight::io
