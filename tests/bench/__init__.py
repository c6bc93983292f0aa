# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks, all in one run: ``./run bench``. Speed is looked at here and never in a test."""
