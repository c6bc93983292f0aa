# SPDX-License-Identifier: GPL-3.0-or-later
"""The word by which GNU Radio ends the subscribers of a block that ends, and which of several blocks may say it.

GNU Radio says it once a subscription, and the first one ends a subscriber, whoever else still has messages for it. The
others wait for its next run, and end that before a message comes. So a subscriber must hear it once: from the last of
those that publish to it.
"""

import threading
import weakref

import pmt
from gnuradio import gr

SYSTEM = pmt.intern("system")  # the port on which a block is told to end

_lock = threading.Lock()
_publishing: weakref.WeakSet[gr.basic_block] = weakref.WeakSet()


def forget_words_to_end(block: gr.basic_block) -> None:
    """For the ``start`` of a block that lives on messages alone.

    A flowgraph that is stopped or reconfigured leaves the word to end unread, for the next run to stumble over.
    GNU Radio starts every block before any works, so nothing of that run is here yet.
    """
    while block.to_basic_block().nmsgs(SYSTEM):
        block.to_basic_block().delete_head_nowait(SYSTEM)


def begin_to_publish(block: gr.basic_block) -> None:
    """For the ``start`` of a block that calls ``prepare_to_end`` later."""
    with _lock:
        _publishing.add(block)


def prepare_to_end(block: gr.basic_block) -> None:
    """For a block that has published its last message and is to end: leaves subscribers to the others they have.

    The subscriptions that are dropped, GNU Radio makes anew at every start.
    """
    with _lock:
        _publishing.discard(block)
        kept = {name for other in _publishing for _, _, name in _subscriptions(other)}
        for port, subscription, name in _subscriptions(block):
            if name in kept:
                block.to_basic_block().message_port_unsub(port, subscription)
            kept.add(name)


def _subscriptions(block: gr.basic_block) -> list[tuple]:
    """(port, what GNU Radio keeps of a subscription to it, name of the subscriber) for each subscription."""
    owner, found = block.to_basic_block(), []
    ports = owner.message_ports_out()
    for port in [pmt.vector_ref(ports, index) for index in range(pmt.length(ports))]:
        subscriptions = owner.message_subscribers(port)
        for subscription in [pmt.nth(index, subscriptions) for index in range(pmt.length(subscriptions))]:
            found.append((port, subscription, pmt.symbol_to_string(pmt.car(subscription))))
    return found
