// SPDX-License-Identifier: Apache-2.0
// What happened when the safety monitor spoke: one JSON object a line in a file that is only ever
// appended to, for a person with a pager as well as for `foresight report`.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/control/mpc.hpp"

namespace foresight {

inline constexpr const char* kIncidentFile = "incidents.jsonl";  ///< its name in a run folder

/// One line. Numbers that are not known are NaN, written as null.
struct FORESIGHT_API Incident {
  std::string time;         ///< UTC, "2026-03-01T12:00:00.250Z"; write() fills it in if empty
  std::string event;        ///< "raised", "standing" or "cleared"
  int64_t problem = 0;      ///< row of the batch
  std::string observation;  ///< "fnv1a64:" and 16 hexadecimal digits, see observation_hash()
  double surprise = 0;
  double threshold = 0;
  int64_t consecutive = 0;  ///< transitions in a row above the threshold

  std::string plan_status = "none";  ///< of the plan made at this step, "none": not replanned
  double plan_cost = std::numeric_limits<double>::quiet_NaN();
  int64_t plan_iterations = 0;
  double plan_spread = std::numeric_limits<double>::quiet_NaN();  ///< see Diagnostics
  double plan_effective_samples = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::vector<double>> plan_actions;  ///< its first raw actions, at most 8
  std::vector<std::pair<std::string, double>> terms;

  std::string status, source, message;  ///< of the decision
  std::vector<double> action;           ///< raw, as answered
  int64_t suppressed = 0;               ///< incidents that the rate held back since the last line
};

/// 64-bit FNV-1a over names, types, shapes and bytes of problem `row`'s fields: tells whether two
/// records are about the same picture, and finds it in a recording. Not cryptographic.
FORESIGHT_API std::string observation_hash(const Observation& observation, int64_t row = 0);

/// What `decision` says about problem `row`. `event` is "raised", "cleared" or "standing".
FORESIGHT_API Incident incident_of(const Observation& observation, const Decision& decision,
                                   const ActionSpace& space, int64_t row);

/// The line of an incident, without its newline.
FORESIGHT_API std::string incident_line(const Incident& incident);

struct FORESIGHT_API IncidentLogOptions {
  double per_second = 1.0;
  int64_t burst = 10;
  int64_t limit = 10000;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("per_second", self.per_second, "incidents written per second in the long run");
    visit("burst", self.burst, "incidents written at once before the rate applies");
    visit("limit", self.limit, "incidents written in all, so that no robot fills its disk");
  }
  std::vector<std::string> validate() const;
};

/// Appends incidents to a file. Thread-safe; any number of logs, also of different processes, may
/// share a file, because a line is one write() to a descriptor opened for appending.
class FORESIGHT_API IncidentLog {
 public:
  /// Opens or creates `path`; what a killed writer left of a last line is closed by a newline, so
  /// that it costs one line and not two. Throws Error: io_failure, invalid_option. `now` is for
  /// tests.
  explicit IncidentLog(const std::filesystem::path& path, IncidentLogOptions options = {},
                       std::function<Problem::Clock::time_point()> now = Problem::Clock::now);
  ~IncidentLog();
  IncidentLog(const IncidentLog&) = delete;
  IncidentLog& operator=(const IncidentLog&) = delete;

  /// Writes one line, unless the rate or the limit holds it back. Never throws and never waits for
  /// the disk (no fsync); true if the line was written.
  bool write(Incident incident) noexcept;
  /// The same for an incident that is only put together if the rate admits it: hashing an
  /// observation and reading a plan back take time in a control step.
  template <std::invocable Make>
  bool write(const Make& incident) noexcept {
    return write_made(std::cref(incident));
  }

  int64_t written() const;
  int64_t suppressed() const;  ///< held back by rate or limit
  int64_t failed() const;      ///< refused by the system, e.g. disk full

 private:
  bool write_made(const std::function<Incident()>& make) noexcept;

  struct File;
  std::unique_ptr<File> file_;
};

/// A file of incidents as far as it can be read.
struct FORESIGHT_API IncidentFile {
  std::vector<Incident> incidents;
  int64_t malformed = 0;              ///< lines that are not incidents; they are skipped
  std::vector<std::string> problems;  ///< the first ten of them: "line 7: has no \"event\""
};

/// Reads `path`; malformed lines are skipped and counted. Throws Error as io::read_text() does.
FORESIGHT_API IncidentFile read_incidents(const std::filesystem::path& path);

}  // namespace foresight
