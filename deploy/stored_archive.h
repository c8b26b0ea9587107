// SPDX-License-Identifier: GPL-2.0-only
// Records of a zip archive that are stored as they are, as torch writes its archives.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tempermd {

// Each record's name, without the archive's own folder, and where its bytes lie in the file.
class StoredArchive {
 public:
  explicit StoredArchive(const std::string &path);    // throws ModelError

  bool has(const std::string &name) const { return places_.count(name) > 0; }
  std::string read(const std::string &name) const;    // throws ModelError
  std::map<std::string, std::string> read_folder(const std::string &folder) const;

 private:
  struct Place {
    uint64_t header, size;
  };

  std::string bytes(uint64_t begin, uint64_t size) const;
  void read_directory(uint64_t begin, uint64_t size);
  [[noreturn]] void unreadable(const std::string &why) const;

  std::string path_;
  uint64_t file_size_ = 0;
  std::map<std::string, Place> places_;
};

}    // namespace tempermd
