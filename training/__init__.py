# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals, networks and their training: what the released models are made by."""

import os

# onnxruntime reports the models it is given, by name, to its maker: since 1.29 unless this says otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
