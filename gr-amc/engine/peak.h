// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the processor can do at best, to hold the layers against.
#pragma once

namespace amc {

// In a nanosecond and one thread: products of codes and weights that are added to sums of 16 bits, or four at a time to
// sums of 32 bits (0 where the instruction set in use has no such kernel), with all of them in registers; and bytes that
// are read from the first cache, from anywhere as taps do in rows, and aligned as they are in stripes.
struct Peak {
    double products;
    double quads;
    double bytes;
    double aligned_bytes;
};

// Takes some ten milliseconds.
Peak MeasurePeak();

}  // namespace amc
