// SPDX-License-Identifier: GPL-2.0-only
// Records of a zip archive (PKWARE's APPNOTE.TXT 6.3), without compression.
#include "stored_archive.h"

#include "network.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace tempermd {

namespace {

constexpr uint64_t kEndSize = 22, kEntrySize = 46, kHeaderSize = 30, kEnd64Size = 56,
                   kLocatorSize = 20, kLongestComment = 65535;
constexpr uint32_t kEnd = 0x06054b50, kEntry = 0x02014b50, kHeader = 0x04034b50,
                   kEnd64 = 0x06064b50, kLocator = 0x07064b50;
constexpr uint32_t kIn64 = 0xffffffff;    // the number stands in the 64-bit part

uint64_t number(const std::string &from, uint64_t at, int n_bytes)
{
  uint64_t value = 0;
  for (int k = n_bytes - 1; k >= 0; --k)
    value = value << 8 | static_cast<unsigned char>(from.at(at + k));
  return value;
}

// Replaces sizes and offset of an entry by those of its extra field of 64-bit numbers.
void read_64_bits(const std::string &extra, uint64_t &size, uint64_t &stored, uint64_t &header)
{
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    const uint64_t kind = number(extra, at, 2), length = number(extra, at + 2, 2);
    uint64_t next = at + 4;
    if (kind == 1)
      for (uint64_t *one : {&size, &stored, &header})
        if (*one == kIn64) {
          *one = number(extra, next, 8);
          next += 8;
        }
    at += 4 + length;
  }
}

}    // namespace

StoredArchive::StoredArchive(const std::string &path) : path_(path)
{
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) unreadable("cannot be opened");
  file_size_ = static_cast<uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  const uint64_t tail = std::min(file_size_, kEndSize + kLongestComment);
  const auto text = bytes(file_size_ - tail, tail);
  const auto found = text.rfind(std::string("PK\5\6", 4));
  if (found == std::string::npos || found + kEndSize > text.size()) unreadable("no zip archive");
  uint64_t size = number(text, found + 12, 4), begin = number(text, found + 16, 4);
  if ((size == kIn64 || begin == kIn64) && found >= kLocatorSize &&
      number(text, found - kLocatorSize, 4) == kLocator) {
    const auto end = bytes(number(text, found - kLocatorSize + 8, 8), kEnd64Size);
    if (number(end, 0, 4) != kEnd64) unreadable("damaged directory");
    size = number(end, 40, 8);
    begin = number(end, 48, 8);
  }
  read_directory(begin, size);
}

void StoredArchive::read_directory(uint64_t begin, uint64_t size)
{
  const auto directory = bytes(begin, size);
  for (uint64_t at = 0; at + kEntrySize <= size && number(directory, at, 4) == kEntry;) {
    const uint64_t method = number(directory, at + 10, 2);
    uint64_t stored = number(directory, at + 20, 4), length = number(directory, at + 24, 4);
    uint64_t header = number(directory, at + 42, 4);
    const uint64_t name_size = number(directory, at + 28, 2);
    const uint64_t extra_size = number(directory, at + 30, 2);
    const uint64_t entry = kEntrySize + name_size + extra_size + number(directory, at + 32, 2);
    if (at + entry > size) unreadable("damaged directory");
    const auto name = directory.substr(at + kEntrySize, name_size);
    try {
      read_64_bits(directory.substr(at + kEntrySize + name_size, extra_size), length, stored, header);
    } catch (const std::out_of_range &) {
      unreadable("damaged directory");
    }
    const auto slash = name.find('/');
    if (method == 0 && stored == length && slash != std::string::npos)
      places_[name.substr(slash + 1)] = {header, length};
    at += entry;
  }
}

std::string StoredArchive::read(const std::string &name) const
{
  const auto found = places_.find(name);
  if (found == places_.end()) unreadable("no record " + name);
  const auto header = bytes(found->second.header, kHeaderSize);
  if (number(header, 0, 4) != kHeader) unreadable("damaged record " + name);
  const uint64_t begin =
      found->second.header + kHeaderSize + number(header, 26, 2) + number(header, 28, 2);
  return bytes(begin, found->second.size);
}

std::map<std::string, std::string> StoredArchive::read_folder(const std::string &folder) const
{
  std::map<std::string, std::string> records;
  for (const auto &[name, place] : places_)
    if (name.rfind(folder + "/", 0) == 0) records[name.substr(folder.size() + 1)] = read(name);
  return records;
}

std::string StoredArchive::bytes(uint64_t begin, uint64_t size) const
{
  if (size > file_size_ || begin > file_size_ - size) unreadable("it ends too early");
  std::string found(size, '\0');
  std::ifstream file(path_, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(begin));
  if (!file.read(found.data(), static_cast<std::streamsize>(size))) unreadable("it ends too early");
  return found;
}

void StoredArchive::unreadable(const std::string &why) const
{
  throw ModelError("it is not a readable model file, truncated or foreign (" + why + "); " +
                   kRedeploy);
}

}    // namespace tempermd
