// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML page out of sections, prose, figures and tables. It loads nothing: no
// script, no font, no style sheet from elsewhere, so that a run folder can be mailed or archived
// and still opens years later.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "foresight/core/export.hpp"
#include "foresight/viz/markup.hpp"

namespace foresight::viz {

/// A named value, e.g. {"success", "86 %", "43 of 50 episodes"}.
struct Fact {
  std::string name = {};
  std::string value = {};
  std::string note = {};
};

enum class Align { left, right };

struct Column {
  std::string title = {};
  Align align = Align::right;
};

/// A table of text; numbers belong right-aligned. Every row has as many cells as there are columns.
struct Table {
  std::vector<Column> columns = {};
  std::vector<std::vector<std::string>> rows = {};
  std::string caption = {};
};

/// A figure with its caption.
struct Figure {
  Svg svg = {};
  std::string caption = {};
};

/// Builds the page top-down: section() opens a section, the other calls add to it. All text is
/// plain text and is escaped; only Svg passes as markup. Calling anything but section() first is an
/// Error.
class FORESIGHT_API Report {
 public:
  Report(std::string title, std::string summary);

  /// What the page is of, for programs that find it again (has_mark()). Not shown; empty: none.
  Report& mark(const std::string& text);
  /// Headline values under the title.
  Report& headline(const std::vector<Fact>& facts);
  Report& section(const std::string& title);
  Report& prose(const std::string& text);
  /// Says, less loudly than prose, what is missing or how something was measured.
  Report& remark(const std::string& text);
  /// Figures side by side where the page is wide enough.
  Report& figures(const std::vector<Figure>& figures);
  /// Figures with a table after the last.
  Report& figures(const std::vector<Figure>& figures, const Table& beside);
  Report& table(const Table& table);
  Report& facts(const std::vector<Fact>& facts);
  /// Preformatted text.
  Report& code(const std::string& text);
  /// Preformatted text behind a line that opens on a click.
  Report& folded(const std::string& summary, const std::string& text);
  /// A line under the last section; empty: none.
  Report& foot(const std::string& text);

  std::string html() const;
  /// Writes html() beside `path` and renames it. Throws Error(io_failure).
  void write(const std::filesystem::path& path) const;

 private:
  std::string& body();

  struct Section {
    std::string title = {};
    std::string anchor = {};
    std::string body = {};
  };
  std::string title_, summary_, mark_, headline_, foot_;
  std::vector<Section> sections_;
};

/// Whether a page that Report wrote has this mark.
FORESIGHT_API bool has_mark(const std::string& html, const std::string& text);
/// Whether it has a mark that begins with `text`; of an empty one: any mark.
FORESIGHT_API bool has_mark_beginning(const std::string& html, const std::string& text);

}  // namespace foresight::viz
