// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/module.hpp"

namespace foresight::nn {

torch::nn::Module& scope(torch::nn::Module& root, std::string_view path) {
  torch::nn::Module* current = &root;
  while (!path.empty()) {
    const auto dot = path.find('.');
    const std::string name(path.substr(0, dot));
    path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
    const auto children = current->named_children();
    const auto* child = children.find(name);
    current = child
                  ? child->get()
                  : current->register_module(name, std::make_shared<torch::nn::Module>(name)).get();
  }
  return *current;
}

}  // namespace foresight::nn
