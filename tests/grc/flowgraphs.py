# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens and generates flowgraphs of GNU Radio Companion with the blocks of this checkout, without its window."""

import os
from pathlib import Path
from unittest import mock

from gnuradio import gr
from gnuradio.grc.core import utils
from gnuradio.grc.core.platform import Platform

GRC = Path(__file__).resolve().parents[2] / "grc"
BLOCKS = sorted(GRC.glob("*.block.yml"))
EXAMPLES = sorted((GRC / "examples").glob("*.grc"))


def open_platform(platform_class=Platform, **settings):
    """A platform that knows GNU Radio's own blocks and those of the folder ``grc``, and no other."""
    prefs = gr.prefs()
    # The loader of docstrings imports every block there is in a process of its own, for nothing here.
    with mock.patch.object(utils.extract_docs, "SubprocessLoader"):
        platform = platform_class(
            version=gr.version(),
            version_parts=(gr.major_version(), gr.api_version(), gr.minor_version()),
            prefs=prefs,
            **settings,
        )
    # Not the paths of the environment: an installed gr-amc would take the place of the one under test.
    platform.build_library([*prefs.get_string("grc", "global_blocks_path", "").split(os.pathsep), str(GRC)])
    return platform


def open_flowgraph(platform, path):
    """The flowgraph of ``path``, evaluated and validated; what is wrong is in its ``iter_error_messages()``."""
    flowgraph = platform.make_flow_graph()
    flowgraph.grc_file_path = str(path)
    flowgraph.import_data(platform.parse_flow_graph(str(path)))
    flowgraph.rewrite()
    flowgraph.validate()
    return flowgraph


def generate(platform, flowgraph, folder):
    """Writes the flowgraph's Python files to ``folder`` and returns the path of the one to run."""
    generator = platform.Generator(flowgraph, str(folder))
    generator.write()
    return Path(generator.file_path)
