// SPDX-License-Identifier: Apache-2.0
// The options of a LeWM as the shapes of its tensors tell them.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "checkpoint_sizes.hpp"
#include "foresight/models/lewm_import.hpp"

namespace foresight::models {

/// Reads options off the shapes of a state dict in the older layout, without "model.". Every size
/// is checked against every tensor that repeats it, so that a network of these options is no larger
/// than its file.
class LewmShapes {
 public:
  /// Keeps a reference to `tensors`, which must outlive this.
  LewmShapes(const io::NamedTensors& tensors, std::string source);

  /// `given` and `upstream` add what shapes do not tell.
  JepaOptions options(const LewmImportOptions& given, const nlohmann::json& upstream);

 private:
  using Shape = std::vector<int64_t>;
  bool has(const std::string& name) const { return shapes_.contains(name); }
  const Shape& shape(const std::string& name, std::size_t axes) const;
  void expect(const std::string& name, const Shape& expected);
  int64_t layers(const std::string& prefix) const;
  [[noreturn]] void fail(const std::string& problem) const;

  void read_encoder(JepaOptions& options);
  void read_predictor(JepaOptions& options);
  void read_action_encoder(JepaOptions& options);
  nn::ProjectionOptions projection(const std::string& name, int64_t input, int64_t output);
  void throw_if_any_fault(JepaOptions options) const;
  void read_actions(JepaOptions& options, const LewmImportOptions& given) const;
  void read_heads(JepaOptions& options, const LewmImportOptions& given,
                  const nlohmann::json& upstream) const;
  void read_upstream(JepaOptions& options, const nlohmann::json& upstream) const;

  const io::NamedTensors& tensors_;
  std::string source_;
  std::map<std::string, Shape> shapes_;
  SizeFaults faults_;
};

}  // namespace foresight::models
