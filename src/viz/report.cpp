// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"

namespace foresight::viz {
namespace {

constexpr std::string_view kPageCss = R"(*{box-sizing:border-box}
body{margin:0;background:var(--fs-page);color:var(--fs-ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",Arial,sans-serif}
.page{max-width:1240px;margin:0 auto;padding:36px 24px 72px}
h1{font-size:27px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em}h2{font-size:18px;margin:0 0 6px}
.lead{color:var(--fs-ink-2);max-width:78ch;margin:0 0 18px;white-space:pre-line}p{max-width:78ch;margin:6px 0 12px;white-space:pre-line}
.remark{color:var(--fs-muted);font-size:13.5px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 18px}
.tile{background:var(--fs-surface);border:1px solid var(--fs-border);border-radius:8px;padding:10px 14px}
.tile .name{font-size:12.5px;color:var(--fs-muted)}.tile .value{font-size:22px;font-weight:600;line-height:1.3;overflow-wrap:anywhere}
.tile .note{font-size:12px;color:var(--fs-ink-2)}
nav{font-size:13.5px;margin:0 0 22px;line-height:1.9}nav a{color:var(--fs-link);text-decoration:none;margin-right:16px;white-space:nowrap}nav a:hover{text-decoration:underline}
section{background:var(--fs-surface);border:1px solid var(--fs-border);border-radius:10px;padding:18px 22px 20px;margin:0 0 18px}
.figures{display:flex;flex-wrap:wrap;gap:18px 24px;margin:12px 0}figure{margin:0;max-width:100%}
figcaption{font-size:12.5px;color:var(--fs-ink-2);width:0;min-width:100%;margin-top:4px}
.scroll{overflow-x:auto;margin:12px 0;max-width:100%}.figures .scroll{margin:0}table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{caption-side:bottom;text-align:left;font-size:12.5px;color:var(--fs-ink-2);padding-top:6px}
th{font-weight:600;color:var(--fs-ink-2);border-bottom:1px solid var(--fs-axis)}td{border-bottom:1px solid var(--fs-grid)}
th,td{padding:5px 18px 5px 0;text-align:left;vertical-align:baseline}th.r,td.r{text-align:right;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 22px;font-size:13.5px;margin:12px 0}dt{color:var(--fs-muted)}dd{margin:0;overflow-wrap:anywhere}
dd .note{color:var(--fs-muted)}
pre{background:var(--fs-page);border:1px solid var(--fs-border);border-radius:6px;padding:12px 14px;overflow-x:auto;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;margin:10px 0}
summary{cursor:pointer;color:var(--fs-link);font-size:13.5px}footer{color:var(--fs-muted);font-size:12.5px}
@media print{body{background:none}section{break-inside:avoid;border:none;padding:0}}
)";

std::string anchor_of(const std::string& title, std::size_t position) {
  std::string anchor = fmt::format("s{}", position + 1);
  for (const char character : title) {
    const bool letter =
        (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
    const bool capital = character >= 'A' && character <= 'Z';
    if (letter || capital)
      anchor += static_cast<char>(capital ? character - 'A' + 'a' : character);
    else if (anchor.back() != '-')
      anchor += '-';
  }
  return anchor;
}

std::string cells(const Table& table, const std::vector<std::string>& texts, std::string_view tag) {
  std::string row = "<tr>";
  for (std::size_t i = 0; i < texts.size(); ++i)
    row +=
        fmt::format("<{0}{1}>{2}</{0}>", tag,
                    table.columns[i].align == Align::right ? " class=\"r\"" : "", escape(texts[i]));
  return row + "</tr>\n";
}

std::string markup(const Table& table) {
  for (std::size_t i = 0; i < table.rows.size(); ++i)
    require(table.rows[i].size() == table.columns.size(), ErrorCategory::invalid_argument,
            fmt::format("table '{}': row {} has {} cells, expected {}", table.caption, i,
                        table.rows[i].size(), table.columns.size()));
  std::vector<std::string> titles;
  for (const auto& column : table.columns) titles.push_back(column.title);
  std::string out = "<div class=\"scroll\"><table>";
  if (!table.caption.empty()) out += fmt::format("<caption>{}</caption>", escape(table.caption));
  out += "<thead>" + cells(table, titles, "th") + "</thead><tbody>\n";
  for (const auto& row : table.rows) out += cells(table, row, "td");
  return out + "</tbody></table></div>\n";
}

std::string markup(const std::vector<Figure>& figures) {
  std::string out;
  for (const auto& figure : figures) {
    out += "<figure>" + figure.svg.markup;
    if (!figure.caption.empty())
      out += fmt::format("<figcaption>{}</figcaption>", escape(figure.caption));
    out += "</figure>\n";
  }
  return out;
}

std::string mark_beginning(const std::string& text) {
  return "<meta name=\"foresight\" content=\"" + escape(text);
}

std::string mark_markup(const std::string& text) { return mark_beginning(text) + "\"/>\n"; }

}  // namespace

Report::Report(std::string title, std::string summary)
    : title_(std::move(title)), summary_(std::move(summary)) {}

std::string& Report::body() {
  require(!sections_.empty(), ErrorCategory::invalid_argument,
          "Report '" + title_ + "': content was added before section() opened a section");
  return sections_.back().body;
}

Report& Report::mark(const std::string& text) {
  mark_ = text;
  return *this;
}

Report& Report::headline(const std::vector<Fact>& facts) {
  for (const auto& fact : facts) {
    headline_ +=
        fmt::format("<div class=\"tile\"><div class=\"name\">{}</div><div class=\"value\">{}</div>",
                    escape(fact.name), escape(fact.value));
    if (!fact.note.empty())
      headline_ += fmt::format("<div class=\"note\">{}</div>", escape(fact.note));
    headline_ += "</div>\n";
  }
  return *this;
}

Report& Report::section(const std::string& title) {
  sections_.push_back({title, anchor_of(title, sections_.size()), {}});
  return *this;
}

Report& Report::prose(const std::string& text) {
  body() += fmt::format("<p>{}</p>\n", escape(text));
  return *this;
}

Report& Report::remark(const std::string& text) {
  body() += fmt::format("<p class=\"remark\">{}</p>\n", escape(text));
  return *this;
}

Report& Report::figures(const std::vector<Figure>& figures) {
  body() += "<div class=\"figures\">\n" + markup(figures) + "</div>\n";
  return *this;
}

Report& Report::figures(const std::vector<Figure>& figures, const Table& beside) {
  body() += "<div class=\"figures\">\n" + markup(figures) + markup(beside) + "</div>\n";
  return *this;
}

Report& Report::table(const Table& table) {
  body() += markup(table);
  return *this;
}

Report& Report::facts(const std::vector<Fact>& facts) {
  auto& out = body();
  out += "<dl>";
  for (const auto& fact : facts) {
    out += fmt::format("<dt>{}</dt><dd>{}", escape(fact.name), escape(fact.value));
    if (!fact.note.empty())
      out += fmt::format(" <span class=\"note\">{}</span>", escape(fact.note));
    out += "</dd>\n";
  }
  out += "</dl>\n";
  return *this;
}

Report& Report::code(const std::string& text) {
  body() += fmt::format("<pre>{}</pre>\n", escape(text));
  return *this;
}

Report& Report::folded(const std::string& summary, const std::string& text) {
  body() += fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(summary),
                        escape(text));
  return *this;
}

Report& Report::foot(const std::string& text) {
  foot_ = text;
  return *this;
}

std::string Report::html() const {
  // The content policy makes the promise of a self-contained page one that the browser keeps.
  std::string page =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
  if (!mark_.empty()) page += mark_markup(mark_);
  page += fmt::format(
      "<title>{}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n<div class=\"page\">\n",
      escape(title_), theme_css(), kPageCss);
  page += fmt::format("<h1>{}</h1>\n", escape(title_));
  if (!summary_.empty()) page += fmt::format("<p class=\"lead\">{}</p>\n", escape(summary_));
  if (!headline_.empty()) page += fmt::format("<div class=\"tiles\">\n{}</div>\n", headline_);
  page += "<nav>";
  for (const auto& section : sections_)
    page += fmt::format("<a href=\"#{}\">{}</a>\n", section.anchor, escape(section.title));
  page += "</nav>\n";
  for (const auto& section : sections_)
    page += fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", section.anchor,
                        escape(section.title), section.body);
  page += "<footer>";
  if (!foot_.empty()) page += fmt::format("<p>{}</p>\n", escape(foot_));
  return page + "Written by foresight.</footer>\n</div>\n</body>\n</html>\n";
}

void Report::write(const std::filesystem::path& path) const { io::write_text(path, html()); }

bool has_mark(const std::string& html, const std::string& text) {
  return html.find(mark_markup(text)) != std::string::npos;  // other text has no tags: escape()
}

bool has_mark_beginning(const std::string& html, const std::string& text) {
  return html.find(mark_beginning(text)) != std::string::npos;
}

}  // namespace foresight::viz
