# SPDX-License-Identifier: GPL-3.0-or-later
"""Automatic modulation classification for GNU Radio.

Names are loaded when first used, so that the command line does not wait for GNU Radio.
"""

import os
from importlib import import_module

# onnxruntime reports the models it is given, by name, to its maker: since 1.29 unless this says otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "AmcError": ".errors",
    "DEFAULT_MODEL": ".model",
    "Pipeline": ".pipeline",
    "Result": ".report",
    "classifier": ".block",
    "conditioner": ".conditioner_block",
    "label_display": ".display",
    "load_model": ".model",
    "receiver_watch": ".receiver",
    "released_models": ".model",
    "sigmf_annotator": ".annotator",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
