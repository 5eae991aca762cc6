// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/report.hpp"

#include <filesystem>
#include <functional>
#include <limits>

#include "catch.hpp"
#include "demo_run.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "foresight/viz/run_report.hpp"
#include "markup_checker.hpp"

namespace foresight::viz::report_test {

using foresight::Error;
using foresight::ErrorCategory;
using foresight::test::attribute_values;
using foresight::test::DemoRun;
using foresight::test::markup_problem;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error was thrown";
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

}  // namespace

TEST_CASE("a report is well-formed and shows its content in order") {
  Report report("Title", "Summary");
  report.headline({{"success", "86 %", "43 of 50"}}).section("First").prose("some prose");
  report.section("Second").table(
      {{{"name", Align::left}, {"value"}}, {{"a", "1"}, {"b", "2"}}, "numbers"});
  report.figures({{{"<svg class=\"fs-figure\"></svg>"}, "a caption"}})
      .code("make")
      .folded("more", "{}");
  const auto html = report.html();
  CHECK(markup_problem(html) == "");
  std::size_t at = 0;
  for (const char* part :
       {"<h1>Title", "Summary", "86 %", "<h2>First", "some prose", "<h2>Second",
        "<th class=\"r\">value", "<td>a</td>", "<svg", "a caption", "<pre>make", "<details>"}) {
    INFO(part);
    at = html.find(part, at);
    REQUIRE(at != std::string::npos);
  }
}

TEST_CASE("every text of a report is escaped") {
  const std::string evil = "</p><script src=x onerror=\"a\">&'\x02\xfe";
  Report report(evil, evil);
  report.headline({{evil, evil, evil}})
      .section(evil)
      .prose(evil)
      .remark(evil)
      .facts({{evil, evil, evil}});
  report.table({{{evil}}, {{evil}}, evil}).code(evil).folded(evil, evil);
  report.figures({{{"<svg class=\"fs-figure\"></svg>"}, evil}});
  const auto html = report.html();
  CHECK(markup_problem(html) == "");
  CHECK_FALSE(contains(html, "<script"));
}

TEST_CASE("navigation leads to every section, also to sections of equal title") {
  Report report("t", "");
  report.section("Same").section("Same").section("潜在");
  const auto html = report.html();
  const auto links = attribute_values(html, "a", "href"),
             anchors = attribute_values(html, "section", "id");
  REQUIRE(links.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(links[i] == "#" + anchors[i]);
  CHECK(anchors[0] != anchors[1]);
}

TEST_CASE("misuse of a report is an error") {
  CHECK(contains(message_of([] { Report("t", "").prose("x"); }), "before section()"));
  CHECK(contains(message_of([] {
                   Report("t", "").section("s").table({{{"a"}, {"b"}}, {{"1"}}, "c"});
                 }),
                 "row 0 has 1 cells, expected 2"));
}

TEST_CASE("a run report has every section filled, loads nothing and is well-formed") {
  const auto path =
      std::filesystem::path(FORESIGHT_BINARY_DIR) / "demo_report.html";  // kept, to be looked at
  write_run_report(DemoRun().make(), path);
  const auto html = foresight::io::read_text(path);
  CHECK(markup_problem(html) == "");
  const auto sections = run_report_sections();
  CHECK(sections.size() == 14);
  for (const auto& section : sections) {
    INFO(section);
    CHECK(contains(html, "<h2>" + section + "</h2>"));
  }
  for (const char* reference :
       {"http://", "https://", "src=\"//", "url(", "@import", "<script", "<link"}) {
    INFO(reference);
    CHECK_FALSE(contains(html, reference));
  }
  for (const auto& source : attribute_values(html, "image", "href"))
    CHECK(source.rfind("data:image/png;base64,", 0) == 0);
  CHECK(contains(html, "default-src 'none'"));
}

TEST_CASE("a run report shows the numbers that it was given") {
  const auto html = make_run_report(DemoRun().make()).html();
  for (const char* part : {"43/50",
                           "73.8 to 93.0 %",
                           "95 % Wilson interval",
                           "random actions",
                           "straight to the goal",
                           ">goal_distance<",
                           "87.8 %" /* 0.412 of 0.469 */,
                           ">13.9<" /* 99th percentile */,
                           "R² = 0.987",
                           "copy of the last frame",
                           "1 of 1022 points not drawn" /* the NaN of the total loss */,
                           "instance 50",
                           "chosen plan",
                           "elites",
                           "&lt;&amp;&gt;" /* from the configuration */,
                           "38.0 % of the variance",
                           "foresight train --config",
                           "their loss changed by 12.3 %",
                           "<td>new</td><td>loss</td><td class=\"r\">0.918</td>",
                           ">−72.3 %<",
                           "the column&#39;s own: it never varied in the training",
                           "Drift: action_1: never varied",
                           "raised 1 time",
                           "41 records held back",
                           "line 4: is not JSON",
                           "af63dc4c8601ec8c",
                           "&lt;problem&gt; &amp; no end"}) {
    INFO(part);
    CHECK(contains(html, part));
  }
}

TEST_CASE("a run report has sections for what it was given alone, and says what else there is") {
  const auto empty = make_run_report({}).html();
  CHECK(markup_problem(empty) == "");
  CHECK(count(empty, "<section") == 0);
  CHECK_FALSE(has_mark(empty, ""));
  CHECK_FALSE(has_mark_beginning(empty, ""));

  const auto whole = DemoRun().make();
  RunReport run;
  run.losses = whole.losses;
  run.commands = whole.commands;
  run.further = "`foresight eval` shows <more>.";
  run.mark = "step \"4\"";
  const auto html = make_run_report(run).html();
  CHECK(markup_problem(html) == "");
  CHECK(count(html, "<section") == 2);
  CHECK(contains(html, "<h2>Losses</h2>"));
  CHECK(contains(html, "<h2>Reproduce</h2>"));
  CHECK(contains(html, "<footer><p>`foresight eval` shows &lt;more&gt;.</p>"));
  CHECK(has_mark(html, run.mark));
  CHECK_FALSE(has_mark(html, "step"));
  CHECK(has_mark_beginning(html, "step \""));
  CHECK(has_mark_beginning(html, ""));
  CHECK_FALSE(has_mark_beginning(html, "4"));

  run = {};
  run.latent.position = at::zeros({3, 2});  // half of what is shown is a mistake, not nothing
  CHECK(contains(message_of([&] { make_run_report(run); }), "latent has 0 points and 3 positions"));
}

TEST_CASE("a run report of numbers that are not finite is still well-formed") {
  auto run = DemoRun().make();
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  for (auto& curve : run.losses) curve.train.assign(curve.train.size(), nan);
  run.latent.axes.fill_(nan);
  run.imagination.model.assign(16, infinity);
  run.frames[0].candidates.fill_(nan);
  run.costs = {{"goal", nan, infinity}};
  run.learned_on.losses[0].after = run.learned_on.drift[0].shift = nan;
  run.timings[0].max = infinity;
  run.trade_offs[0].milliseconds = 0;
  const auto html = make_run_report(run).html();
  CHECK(markup_problem(html) == "");
  CHECK(contains(html, "no value is finite"));
}

TEST_CASE("a trade-off whose interval is not known shows none") {
  auto run = DemoRun().make();
  const auto band = "Band: " + run.success.interval + ".";
  CHECK(contains(make_run_report(run).html(), band));
  run.trade_offs = {{.setting = "small", .samples = 64, .milliseconds = 2, .success = 0.5},
                    {.setting = "large", .samples = 300, .milliseconds = 9, .success = 0.75}};
  const auto unknown = make_run_report(run).html();
  CHECK_FALSE(contains(unknown, band));
  CHECK_FALSE(contains(unknown, "0.0 to 100.0 %"));
  CHECK(markup_problem(unknown) == "");
  run.trade_offs[1].low = 0.61;
  run.trade_offs[1].high = 0.87;
  const auto one = make_run_report(run).html();
  CHECK(contains(one, band));
  CHECK(contains(one, "61.0 to 87.0 %"));
  CHECK(markup_problem(one) == "");
}

TEST_CASE("members that disagree are refused by name") {
  auto run = DemoRun().make();
  run.latent.position = at::zeros({3, 2});
  CHECK(contains(message_of([&] { make_run_report(run); }),
                 "latent has 2500 points and 3 positions"));
  run = DemoRun().make();
  run.success.rows[0].trials = 10;
  CHECK(contains(message_of([&] { make_run_report(run); }),
                 "success row 'CEM, 300 × 10' has 43 successes in 10"));
  run = DemoRun().make();
  run.frames[1].elites = at::zeros({4, 8, 3});
  CHECK(contains(message_of([&] { make_run_report(run); }), "layer 'elites' has shape [4, 8, 3]"));
  run = DemoRun().make();
  run.losses[0].train.pop_back();
  CHECK(contains(message_of([&] { make_run_report(run); }), "series 'training'"));
}

TEST_CASE("a report that cannot be made or written leaves the old file alone") {
  const auto folder = std::filesystem::path(FORESIGHT_BINARY_DIR) / "report_test";
  std::filesystem::create_directories(folder);
  const auto path = folder / "report.html";
  foresight::io::write_text(path, "old");
  auto run = DemoRun().make();
  run.losses[0].train.pop_back();
  CHECK_THROWS_AS(write_run_report(run, path), Error);
  CHECK(foresight::io::read_text(path) == "old");
  CHECK_THROWS_AS(write_run_report({}, folder / "absent" / "report.html"), Error);
  std::filesystem::remove_all(folder);
}

}  // namespace foresight::viz::report_test
