// SPDX-License-Identifier: Apache-2.0
// Incident records: written whole and at a bounded rate, read back, and what is damaged is named.
#include "foresight/control/incident.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/files.hpp"
#include "temporary_folder.hpp"

namespace foresight::incident_test {
namespace {

Incident example() {
  Incident incident;
  incident.time = "2026-03-01T12:00:00.250Z";
  incident.event = "raised";
  incident.problem = 1;
  incident.observation = "fnv1a64:af63dc4c8601ec8c";
  incident.surprise = 4.5;
  incident.threshold = 1.75;
  incident.consecutive = 3;
  incident.plan_status = "deadline_reached";
  incident.plan_cost = 0.125;
  incident.plan_iterations = 7;
  incident.plan_spread = 0.5;
  incident.plan_actions = {{0.5, -1.0}, {0.25, 1.0}};
  incident.terms = {{"effort", 0.025}, {"goal", 0.1}};
  incident.status = "fell_back";
  incident.source = "safe_action";
  incident.message = "surprise \"high\"\nand more";
  incident.action = {0.0, 0.0};
  return incident;
}

// A clock that a test sets.
struct Time {
  std::shared_ptr<double> seconds = std::make_shared<double>(0.0);
  std::function<Problem::Clock::time_point()> now() const {
    return [seconds = seconds] {
      return Problem::Clock::time_point(std::chrono::duration_cast<Problem::Clock::duration>(
          std::chrono::duration<double>(*seconds)));
    };
  }
};

TEST_CASE("an incident is one line that a person and a JSON parser can read") {
  const auto line = incident_line(example());
  CHECK(line.find('\n') == std::string::npos);
  CHECK(line.find(
            R"("time":"2026-03-01T12:00:00.250Z","event":"raised","problem":1,"surprise":4.5)") !=
        std::string::npos);
  const auto json = nlohmann::json::parse(line);
  CHECK(json.at("decision").at("source") == "safe_action");
  CHECK(json.at("decision").at("message") == "surprise \"high\"\nand more");
  CHECK(json.at("plan").at("actions") == nlohmann::json::parse("[[0.5,-1.0],[0.25,1.0]]"));
  CHECK(json.at("plan").at("effective_samples").is_null());  // NaN
  CHECK(json.at("terms").at("goal") == 0.1);
}

TEST_CASE("incidents come back from their file as they were") {
  const TemporaryFolder folder;
  const auto path = folder / kIncidentFile;
  auto infinite = example();
  infinite.surprise = INFINITY;
  infinite.message = "not UTF-8: \xff";
  {
    IncidentLog log(path);
    CHECK(log.write(example()));
    CHECK(log.write(infinite));
    CHECK(log.written() == 2);
  }
  IncidentLog(path).write(example());  // appended by the next run
  const auto file = read_incidents(path);
  CHECK(file.malformed == 0);
  REQUIRE(file.incidents.size() == 3);
  CHECK(incident_line(file.incidents[0]) == incident_line(example()));
  CHECK(std::isinf(file.incidents[1].surprise));
  CHECK(std::isnan(file.incidents[1].plan_effective_samples));
  CHECK(file.incidents[1].message == "not UTF-8: \xEF\xBF\xBD");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { read_incidents(folder / "absent"); }, "absent"));
}

TEST_CASE("an incident of which nothing is known is one line too") {
  const TemporaryFolder folder;
  CHECK(IncidentLog(folder / "log").write({}));
  const auto file = read_incidents(folder / "log");
  CHECK(file.malformed + static_cast<int64_t>(file.incidents.size()) == 1);
}

TEST_CASE("a record without a time gets the present one in UTC") {
  const TemporaryFolder folder;
  auto incident = example();
  incident.time.clear();
  IncidentLog(folder / "log").write(incident);
  const auto time = read_incidents(folder / "log").incidents.at(0).time;
  CHECK(time.size() == 24);
  CHECK(time[10] == 'T');
  CHECK(time.back() == 'Z');
  CHECK(time.substr(0, 2) == "20");
}

TEST_CASE("the rate holds incidents back and tells how many") {
  const TemporaryFolder folder;
  const Time time;
  IncidentLog log(folder / "log", {.per_second = 2.0, .burst = 3, .limit = 5}, time.now());
  for (int i = 0; i < 7; ++i) CHECK(log.write(example()) == (i < 3));
  CHECK(log.suppressed() == 4);
  *time.seconds = 0.4;
  CHECK_FALSE(log.write(example()));
  *time.seconds = 0.5;  // half a second at two a second is one
  CHECK(log.write(example()));
  CHECK_FALSE(log.write(example()));
  *time.seconds = 0.1;  // a clock that goes back gives nothing away
  CHECK_FALSE(log.write(example()));
  *time.seconds = 1000;
  CHECK(log.write(example()));
  CHECK_FALSE(log.write(example()));  // the limit
  std::vector<int64_t> suppressed;
  for (const auto& incident : read_incidents(folder / "log").incidents)
    suppressed.push_back(incident.suppressed);
  CHECK(suppressed == std::vector<int64_t>{0, 0, 0, 5, 2});
}

TEST_CASE("an incident that the rate holds back is not put together") {
  const TemporaryFolder folder;
  const Time time;
  IncidentLog log(folder / "log", {.per_second = 1.0, .burst = 2}, time.now());
  int made = 0;
  const auto make = [&] {
    ++made;
    return example();
  };
  for (int i = 0; i < 5; ++i) CHECK(log.write(make) == (i < 2));
  CHECK(made == 2);
  CHECK(log.suppressed() == 3);
  CHECK(read_incidents(folder / "log").incidents.size() == 2);
}

TEST_CASE("a line that was cut off costs itself and no other") {
  const TemporaryFolder folder;
  const auto path = folder / "log";
  IncidentLog(path).write(example());
  const auto whole = io::read_text(path);
  io::write_text(path, whole + whole.substr(0, whole.size() / 2));
  IncidentLog(path).write(example());
  const auto file = read_incidents(path);
  CHECK(file.incidents.size() == 2);
  CHECK(file.malformed == 1);
  REQUIRE(file.problems.size() == 1);
  CHECK(file.problems[0].find("line 2") == 0);
}

TEST_CASE("malformed lines are named, counted and skipped") {
  const TemporaryFolder folder;
  const auto path = folder / "log";
  const auto good = incident_line(example());
  const auto without = [&](const std::string& key) {
    auto json = nlohmann::json::parse(good);
    json.erase(key);
    return json.dump();
  };
  const auto with = [&](const std::string& key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(good);
    json[key] = value;
    return json.dump();
  };
  std::string text = good + "\n\n";
  const std::vector<std::string> bad{"{",
                                     "[1,2]",
                                     "5",
                                     without("plan"),
                                     without("surprise"),
                                     with("surprise", "high"),
                                     with("plan", 5),
                                     with("terms", 5),
                                     with("terms", {{"goal", "near"}}),
                                     with("decision", nlohmann::json::array()),
                                     std::string("\0\0\0", 3),
                                     "{\"time\":1,\"time\":2}"};
  for (const auto& line : bad) text += line + "\n";
  io::write_text(path, text + good);
  const auto file = read_incidents(path);
  CHECK(file.incidents.size() == 2);
  CHECK(file.malformed == static_cast<int64_t>(bad.size()));
  REQUIRE(file.problems.size() == 10);
  for (std::size_t i = 0; i < file.problems.size(); ++i) {
    INFO(file.problems[i]);
    CHECK(file.problems[i].find("line " + std::to_string(i + 3)) == 0);
  }
  CHECK(file.problems[3].find("plan") != std::string::npos);
}

TEST_CASE("threads share a log, and logs share a file, without mixing lines") {
  const TemporaryFolder folder;
  const auto path = folder / "log";
  const IncidentLogOptions eager{.per_second = 1e6, .burst = 100000};
  IncidentLog one(path, eager), other(path, eager);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 50; ++k) (i % 2 == 0 ? one : other).write(example());
    });
  for (auto& thread : threads) thread.join();
  const auto file = read_incidents(path);
  CHECK(file.malformed == 0);
  CHECK(file.incidents.size() == 200);
}

TEST_CASE("a log that cannot be opened says why") {
  const TemporaryFolder folder;
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { IncidentLog(folder / "absent" / "log"); }, "absent",
      "No such file"));
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { IncidentLog(folder.path()); }, folder.path().string()));
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { IncidentLog("/dev/null"); }, "regular file"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { IncidentLog(folder / "log", {.per_second = 0}); },
      "per_second"));
}

TEST_CASE("an observation's hash is FNV-1a of its names, types, shapes and bytes") {
  const auto bytes = at::tensor({1, 2, 3, 4, 5, 6}, at::kByte).view({2, 3});
  // Computed in Python over b"x Byte[3]" + bytes([1, 2, 3]) and so on.
  CHECK(observation_hash({"x", bytes}, 0) == "fnv1a64:ef29f64d858192f0");
  CHECK(observation_hash({"x", bytes}, 1) == "fnv1a64:0923064d9436b447");
  CHECK(observation_hash({"proprio", at::tensor({0.5F, -1.0F}).unsqueeze(0)}) ==
        "fnv1a64:029cbab2154c4814");
  CHECK(observation_hash({"y", bytes}, 0) != observation_hash({"x", bytes}, 0));
  const auto strided = bytes.t().contiguous().t();  // the same numbers in another order in memory
  CHECK(observation_hash({"x", strided}, 1) == observation_hash({"x", bytes}, 1));
}

}  // namespace
}  // namespace foresight::incident_test
