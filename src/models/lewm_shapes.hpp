// SPDX-License-Identifier: Apache-2.0
// The options of a LeWM as the shapes of its tensors tell them.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/models/lewm_import.hpp"

namespace foresight::models {

/// Reads options off the shapes of a state dict in the older layout, without "model.". Every size
/// is checked against every tensor that repeats it, so that a network of these options is no larger
/// than its file.
class LewmShapes {
 public:
  LewmShapes(const io::NamedTensors& tensors, std::string source);

  /// `given` and `upstream` add what shapes do not tell.
  JepaOptions options(const LewmImportOptions& given, const nlohmann::json& upstream) const;

 private:
  using Shape = std::vector<int64_t>;
  bool has(const std::string& name) const { return shapes_.contains(name); }
  const Shape& shape(const std::string& name, std::size_t axes) const;
  void expect(const std::string& name, const Shape& expected) const;
  int64_t layers(const std::string& prefix) const;
  [[noreturn]] void fail(const std::string& problem) const;

  void read_encoder(JepaOptions& options) const;
  void read_predictor(JepaOptions& options) const;
  void read_actions(JepaOptions& options, const LewmImportOptions& given) const;
  nn::ProjectionOptions projection(const std::string& name, int64_t input, int64_t output) const;
  void read_heads(JepaOptions& options, const LewmImportOptions& given,
                  const nlohmann::json& upstream) const;
  void read_upstream(JepaOptions& options, const nlohmann::json& upstream) const;

  std::string source_;
  std::map<std::string, Shape> shapes_;
};

}  // namespace foresight::models
