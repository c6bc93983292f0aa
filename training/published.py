# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost and accuracy that others published on the test split of the real RadioML 2018.01A.

Entries of the challenge ITU-ML5G-PS-007, "Lightning-Fast Modulation Classification with Hardware-Efficient Neural
Networks" (2021), as its results list them, and two papers of the years after: "RFNet" with AaronNet's networks, and
feedback magnitude pruning of VGG10.
"""

from dataclasses import dataclass

LEAST_ACCURACY = 0.56  # that the challenge asked for


@dataclass(frozen=True)
class Entry:
    name: str
    cost: float
    accuracy: float


BASELINE = Entry("VGG10, 8 bits (baseline)", 1.0, 0.594657)
CONTEST = (
    Entry("BacalhauNet", 0.016211, 0.5624),
    Entry("VGG10, 4 bits, pruned ten times", 0.042467, 0.562543),
    Entry("Aaronica", 0.046007, 0.5616),
    Entry("Red Gecko", 0.048649, 0.5604),
    Entry("Wolf", 0.054512, 0.5605),
    Entry("LightNeting", 0.090334, 0.5670),
    Entry("Imperial_IPC", 0.1106, 0.564),
    Entry("ANTENNAE", 0.131579, 0.5664),
    Entry("TCD", 0.143013, 0.5634),
    Entry("TeamX", 0.149641, 0.5632),
    Entry("sing-rb", 0.250492, 0.5635),
    Entry("Team Velocity", 0.321127, 0.5607),
    Entry("FAU", 4.307883, 0.5719),
)
LATER = (
    Entry("AaronNet 48+", 0.0432, 0.6007),
    Entry("AaronNet 48++", 0.0236, 0.5705),
    Entry("AaronNet 32++", 0.015705, 0.5609),
)
