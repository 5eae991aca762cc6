// SPDX-License-Identifier: Apache-2.0
// Event files against TensorBoard's own encoder (tests/data/tensorboard), and metrics.jsonl through
// kills and resumes.
#include "foresight/train/event_writer.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/crc32c.hpp"
#include "foresight/io/files.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::event_writer_test {

namespace {

namespace fs = std::filesystem;
using foresight::Error;
using foresight::ErrorCategory;
using foresight::io::read_text;
using foresight::train::EventWriter;
using foresight::train::Scalars;
namespace train = foresight::train;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

ErrorCategory category_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.category();
  }
  FAIL("no Error was thrown");
  return ErrorCategory::unsupported;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// The payloads of a TFRecord file, with both checksums verified against crc32c() and the mask
// undone.
std::vector<std::string> payloads(const std::string& file) {
  auto word = [&](std::size_t at, int bytes) {
    std::uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(file.at(at + i));
    return value;
  };
  auto unmask = [](std::uint32_t masked) {
    const std::uint32_t rotated = masked - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
  };
  std::vector<std::string> found;
  for (std::size_t at = 0; at < file.size();) {
    const auto size = word(at, 8);
    CHECK(unmask(static_cast<std::uint32_t>(word(at + 8, 4))) == io::crc32c(file.substr(at, 8)));
    found.push_back(file.substr(at + 12, size));
    CHECK(unmask(static_cast<std::uint32_t>(word(at + 12 + size, 4))) ==
          io::crc32c(found.back()));
    at += 16 + size;
  }
  return found;
}

std::vector<std::int64_t> steps_in(const fs::path& metrics) {
  std::vector<std::int64_t> steps;
  for (const auto& row : train::read_metrics(metrics)) steps.push_back(row.step);
  return steps;
}

}  // namespace

TEST_CASE("event files equal TensorBoard's own, byte by byte") {
  const auto expected = read_text(fs::path(FORESIGHT_TEST_DATA) / "tensorboard" / "events.bin");
  std::string written;
  written += train::tfrecord(train::version_event(1700000000.25));
  written += train::tfrecord(train::restart_event(1700000000.5, 101));
  written += train::tfrecord(train::scalar_event(1700000001.0, 0, {{"train/loss", 0.1}}));
  written += train::tfrecord(train::scalar_event(
      1700000002.0, 300,
      {{"train/loss", kInfinity}, {"val/ähnlich", -2.5e-30}, {std::string(200, 'x'), 0.0}}));
  written += train::tfrecord(train::scalar_event(1700000003.0, (std::int64_t{1} << 40) + 7, {}));
  REQUIRE(written.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO("byte " << i);
    REQUIRE(written[i] == expected[i]);
  }
}

TEST_CASE("rows are on the disk after flush, in both files") {
  const TemporaryFolder folder;
  EventWriter writer(folder.path() / "run");
  writer.write(0, {{"train/loss", 0.1}, {"lr", 5e-5}});
  writer.write(10, {{"train/loss", 1.0 / 3.0}});
  writer.flush();

  const auto text = read_text(folder.path() / "run" / "metrics.jsonl");
  REQUIRE(std::count(text.begin(), text.end(), '\n') == 2);
  const auto first = nlohmann::json::parse(text.substr(0, text.find('\n')));
  CHECK(first["step"] == 0);
  CHECK(first["train/loss"] == 0.1);
  CHECK(first["lr"] == 5e-5);
  CHECK(std::abs(first["wall_time"].get<double>() - static_cast<double>(std::time(nullptr))) < 60);

  const auto rows = train::read_metrics(folder.path() / "run" / "metrics.jsonl");
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].step == 10);
  CHECK(rows[1].scalars == Scalars{{"train/loss", 1.0 / 3.0}});  // doubles survive exactly

  const auto events = payloads(read_text(writer.event_file()));
  REQUIRE(events.size() == 3);
  CHECK(events[0].find("brain.Event:2") != std::string::npos);
  CHECK(events[2] == train::scalar_event(rows[1].wall_time, 10, {{"train/loss", 1.0 / 3.0}}));
}

TEST_CASE("rows can be followed while a run goes on, and a killed run leaves them behind") {
  const TemporaryFolder folder;
  const auto process = ::fork();
  REQUIRE(process >= 0);
  if (process == 0) {
    EventWriter writer(folder.path());
    writer.write(20, {{"loss", 0.5}});
    writer.write(40, {{"loss", 0.25}});
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  REQUIRE(WIFSIGNALED(status));
  CHECK(steps_in(folder.path() / "metrics.jsonl") == std::vector<std::int64_t>{20, 40});
  for (const auto& entry : fs::directory_iterator(folder.path()))
    if (entry.path().filename() != "metrics.jsonl")
      CHECK(payloads(read_text(entry.path())).size() == 3);  // the version and two rows
}

TEST_CASE("values that are not finite survive in valid JSON") {
  const TemporaryFolder folder;
  {
    EventWriter writer(folder.path());
    writer.write(1, {{"a", std::nan("")}, {"b", kInfinity}, {"c", -kInfinity}});
  }  // the destructor flushes
  const auto text = read_text(folder.path() / "metrics.jsonl");
  CHECK(nlohmann::json::parse(text)["a"] == "NaN");
  const auto rows = train::read_metrics(folder.path() / "metrics.jsonl");
  REQUIRE(rows.size() == 1);
  CHECK(std::isnan(rows[0].scalars[0].second));
  CHECK(rows[0].scalars[1].second == kInfinity);
  CHECK(rows[0].scalars[2].second == -kInfinity);
}

TEST_CASE("a run that was killed while writing continues after its last whole line") {
  const auto half = GENERATE(std::string("{\"step\":3,\"loss\":0."), std::string("{\"st"),
                             std::string(17, '\0'), std::string("{\"step\":3,\"loss\":\n"));
  const TemporaryFolder folder;
  const auto metrics = folder.path() / "metrics.jsonl";
  {
    std::ofstream out(metrics, std::ios::binary);
    out << "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.4}\n" << half;
  }
  CHECK(steps_in(metrics) == std::vector<std::int64_t>{1, 2});
  {
    EventWriter writer(folder.path());
    writer.write(3, {{"loss", 0.3}});
  }
  CHECK(steps_in(metrics) == std::vector<std::int64_t>{1, 2, 3});
  const auto text = read_text(metrics);
  CHECK(text.substr(0, 44) == "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.4}\n");
}

TEST_CASE("a whole last line without its newline is kept") {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "metrics.jsonl") << "{\"step\":1}\n{\"step\":2}";
  { EventWriter(folder.path()).write(3, {}); }
  CHECK(steps_in(folder.path() / "metrics.jsonl") == std::vector<std::int64_t>{1, 2, 3});
}

TEST_CASE("resuming from a checkpoint drops the rows after it and tells TensorBoard") {
  const TemporaryFolder folder;
  {
    EventWriter writer(folder.path());
    for (std::int64_t step = 0; step <= 50; step += 10) writer.write(step, {{"loss", 1.0}});
  }
  EventWriter writer(folder.path(), 20);
  writer.write(30, {{"loss", 0.5}});
  writer.flush();
  CHECK(steps_in(folder.path() / "metrics.jsonl") == std::vector<std::int64_t>{0, 10, 20, 30});
  const auto events = payloads(read_text(writer.event_file()));
  REQUIRE(events.size() == 3);
  CHECK(events[1].substr(9) == train::restart_event(0, 21).substr(9));  // after the wall time
}

TEST_CASE("two writers of one folder never share an event file") {
  const TemporaryFolder folder;
  EventWriter first(folder.path()), second(folder.path());
  CHECK(first.event_file() != second.event_file());
  CHECK(first.event_file().filename().string().rfind("events.out.tfevents.", 0) == 0);
}

TEST_CASE("damage before the last line is an error that names the line") {
  const auto damaged =
      GENERATE(std::string("{\"step\":2,\"loss\""), std::string("{\"loss\":1}"),
               std::string("{\"step\":-1}"), std::string("{\"step\":1.5}"),
               std::string("{\"step\":2,\"loss\":[1]}"), std::string("[]"), std::string(""));
  const TemporaryFolder folder;
  const auto metrics = folder.path() / "metrics.jsonl";
  const std::string content = "{\"step\":1}\n" + damaged + "\n{\"step\":3}\n";
  std::ofstream(metrics) << content;
  CHECK(category_of([&] { train::read_metrics(metrics); }) == ErrorCategory::bad_file);
  CHECK(message_of([&] { EventWriter writer(folder.path()); }).find("line 2") != std::string::npos);
  CHECK(read_text(metrics) == content);  // untouched
}

TEST_CASE("names that would break a line are refused and nothing of the row is kept") {
  const TemporaryFolder folder;
  EventWriter writer(folder.path());
  for (const Scalars& bad : {Scalars{{"", 1}}, Scalars{{"a", 1}, {"a", 2}}, Scalars{{"step", 1}},
                             Scalars{{"ok", 1}, {"wall_time", 1}}, Scalars{{"\xff\xfe", 1}}})
    CHECK(category_of([&] { writer.write(1, bad); }) == ErrorCategory::invalid_argument);
  CHECK(category_of([&] { writer.write(-1, {}); }) == ErrorCategory::invalid_argument);
  writer.write(1, {{"quoted \"name\"\n", 2}});
  writer.flush();
  const auto rows = train::read_metrics(folder.path() / "metrics.jsonl");
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].scalars == Scalars{{"quoted \"name\"\n", 2}});
}

TEST_CASE("a writer of nowhere takes rows and leaves no file") {
  auto writer = EventWriter::nowhere();
  writer.write(1, {{"loss", 0.5}});
  writer.flush();
  CHECK(writer.event_file().empty());
  CHECK(category_of([&] { writer.write(-1, {}); }) == ErrorCategory::invalid_argument);
}

TEST_CASE("a folder that cannot be made is an error") {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "in the way";
  CHECK(category_of([&] { EventWriter(folder.path() / "file"); }) == ErrorCategory::io_failure);
  CHECK(category_of([&] { EventWriter(folder.path() / "ok", -5); }) ==
        ErrorCategory::invalid_argument);
  CHECK(category_of([&] { train::read_metrics(folder.path() / "absent.jsonl"); }) ==
        ErrorCategory::not_found);
}

}  // namespace foresight::train::event_writer_test
