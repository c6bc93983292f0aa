# SPDX-License-Identifier: GPL-3.0-or-later
"""Signal generator: presets (tables) and the code that turns them into frames."""

from .constellations import CLASSES
from .generator import SNR_LABELS, generate
from .presets import NOISE, PRESETS, Preset
from .spectrum import FRAME

__all__ = ["CLASSES", "FRAME", "NOISE", "PRESETS", "SNR_LABELS", "Preset", "generate"]
