// SPDX-License-Identifier: Apache-2.0
#include "journaled_writer.hpp"

#include "foresight/core/log.hpp"

namespace foresight::data {

JournaledWriter::JournaledWriter(std::unique_ptr<EpisodeWriter> writer,
                                 const std::filesystem::path& folder,
                                 const RecordingOptions& options)
    : writer_(std::move(writer)), folder_(folder.string()), journal_(folder, options) {
  const int64_t rows =
      journal_.recover(writer_->next_episode(), [this](RecordedRow row) { writer_->append(row); });
  if (rows > 0) {
    const int64_t number = writer_->finish_episode();
    log(LogLevel::warning, folder_ + ": " + std::to_string(rows) +
                               " rows that a recorder left when it was stopped are now episode " +
                               std::to_string(number));
  }
  restart();
}

JournaledWriter::~JournaledWriter() {
  if (!closed_ && writer_->rows() == 0) journal_.remove();
}

// Recording goes on without the journal where the disk is full: the episode itself may still fit.
void JournaledWriter::restart() {
  try {
    journal_.restart(writer_->next_episode());
    keeping_ = true;
  } catch (const Error& error) {
    keeping_ = false;
    log(LogLevel::warning, std::string(error.what()) + "; an unfinished episode will be lost");
  }
}

void JournaledWriter::append(const RecordedRow& row) {
  writer_->append(row);
  if (!keeping_) return;
  try {
    journal_.add(row);
  } catch (const Error& error) {
    keeping_ = false;
    log(LogLevel::warning,
        std::string(error.what()) + "; of this episode, further rows will be lost if it stops");
  }
}

int64_t JournaledWriter::finish_episode(const std::string& task) {
  const int64_t number = writer_->finish_episode(task);
  restart();
  return number;
}

void JournaledWriter::discard_episode() {
  writer_->discard_episode();
  restart();
}

void JournaledWriter::finish() {
  if (closed_) return;
  writer_->finish();
  journal_.remove();
  closed_ = true;
}

}  // namespace foresight::data
