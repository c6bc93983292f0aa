// SPDX-License-Identifier: GPL-3.0-or-later
//
// Machine code that is written for the weights of a layer when a network is loaded: all that its loop over the places of
// a row does is load codes, add them and round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels.h"

namespace amc {

// Pages of memory with code, which can be read and run, and not be written any more.
class MachineCode {
public:
    // Null where the system gives none, or there is nothing to run.
    static std::unique_ptr<const MachineCode> Of(const std::vector<uint8_t>& code);
    ~MachineCode();
    MachineCode(const MachineCode&) = delete;
    MachineCode& operator=(const MachineCode&) = delete;

    const void* Begin() const { return room_; }

private:
    MachineCode(void* room, size_t size) : room_(room), size_(size) {}

    void* room_;
    size_t size_;
};

// Between which the sums of an output lie.
struct SumRange {
    int least;
    int most;
};

// How the code of a row goes along: it makes a code of the largest of "pool" sums; where it "splits", even codes and odd
// ones go to different rows. Every vector that it makes lies "made" vectors behind the one before, and those that it reads
// for it "read" vectors.
struct RowWalk {
    size_t pool;
    bool splits = false;
    size_t read = 1;
    size_t made = 1;
};

// Makes the rows of a layer's outputs as MakeRows does, by code of their own.
class SpecialisedRows {
public:
    // For outputs whose taps and limits of 16 bits are known, "reached" being the range of each, of codes up to "largest",
    // and the instruction set in use. Outputs are left to MakeRows whose weights do not fit bytes or whose codes no
    // PackedRounding gives; the others are marked. Null where all are, the layer is too large, or no code is written for the
    // instruction set or run by the system.
    static std::unique_ptr<const SpecialisedRows> Of(std::vector<RowOutput>& outputs, const std::vector<SumRange>& reached,
                                                     int largest, const RowWalk& walk);

    // Whether there is nothing left to MakeRows.
    bool IsComplete() const { return complete_; }
    // Outputs are made part by part: the code of one stays in the first cache from one tile of all rows to the next.
    size_t Parts() const { return parts_.size(); }
    void Make(size_t part, const uint8_t* codes, size_t length, const MadeRows& made) const;

private:
    // A function, where it begins, and its first output.
    struct Part {
        size_t place;
        size_t output;
    };

    SpecialisedRows(std::unique_ptr<const MachineCode> code, std::vector<Part> parts, size_t step, bool complete)
        : code_(std::move(code)), parts_(std::move(parts)), step_(step), complete_(complete) {}

    std::unique_ptr<const MachineCode> code_;
    std::vector<Part> parts_;
    size_t step_;  // vectors from one that is made to the next
    bool complete_;
};

}  // namespace amc
