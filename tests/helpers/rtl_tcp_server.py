# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver on the network for tests: rtl_tcp's protocol, with signals of the test's own.

It runs in a process of its own: gr-osmosdr waits for the greeting with Python's lock held, and a server that goes
away is then a process that ends.
"""

import multiprocessing
import multiprocessing.connection
import socket
import struct
import time

import numpy as np

GREETING = struct.pack(">4sII", b"RTL0", 5, 29)  # tuner type R820T, 29 steps of gain
FREQUENCY, SAMPLE_RATE, GAIN = 0x01, 0x02, 0x04
COMMAND = struct.Struct(">BI")
DEFAULT_RATE = 2_048_000  # samples per second until a client asks for another
CHUNK = 8192  # samples: 3 ms at the usual rates
DEADLINE = 60.0


class RtlTcpServer:
    """Plays a signal for each frequency, over and over, at the rate that the client asks for.

    ``stations`` is {frequency in Hz: complex samples, full scale 1}; on other frequencies there is silence. One client
    at a time. A context manager; ``address`` is HOST:PORT.
    """

    def __init__(self, stations):
        self.commands = []
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, stations), daemon=True)
        self._process.start()
        other.close()
        self._sent = None
        self.address = self._pipe.recv()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.leave()

    def play(self, stations):
        """From now on these stations in place of those before."""
        self._pipe.send(("play", stations))

    def pause(self):
        """Sends nothing until ``resume``; the connection stays."""
        self._pipe.send(("pause", True))

    def resume(self):
        self._pipe.send(("pause", False))

    def leave(self):
        """Ends the server as a kill does: its connections end with it."""
        self._process.kill()
        self._process.join()

    def sent(self):
        """Samples sent so far."""
        self._sent = None
        self._pipe.send(("count", None))
        assert self._take_news(lambda: self._sent is not None)
        return self._sent

    def commands_until(self, command, value):
        """All (command, value) so far, once this one has come; none of them if it does not before the deadline."""
        return self.commands if self._take_news(lambda: (command, value) in self.commands) else []

    def _take_news(self, enough):
        deadline = time.monotonic() + DEADLINE
        while not enough():
            if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                return False
            kind, news = self._pipe.recv()
            if kind == "command":
                self.commands.append(news)
            else:
                self._sent = news
        return True


def to_bytes(samples):
    """As a tuner's bytes: unsigned, I and Q in turn, 127.5 for zero."""
    pairs = np.stack([samples.real, samples.imag], axis=-1)
    return np.clip(np.round(127.5 * pairs + 127.5), 0, 255).astype(np.uint8).tobytes()


class _Player:
    """The bytes that are due, by the clock."""

    def __init__(self, stations):
        self.rate = DEFAULT_RATE
        self._frequency = 0
        self.set_stations(stations)
        self.begin()

    def set_stations(self, stations):
        self._stations = {frequency: to_bytes(np.asarray(samples)) for frequency, samples in stations.items()}
        self._position = 0

    def tune(self, frequency):
        self._frequency = frequency
        self._position = 0

    def begin(self):
        """The next chunk is due now."""
        self._due = time.monotonic()

    def wait(self):
        return max(0.0, self._due - time.monotonic())

    def next(self):
        signal = self._stations.get(self._frequency, bytes([127, 128]) * CHUNK)
        chunk = signal[self._position : self._position + 2 * CHUNK]
        self._position = (self._position + len(chunk)) % len(signal)
        self._due += len(chunk) / 2 / self.rate
        return chunk


def _serve(pipe, stations):
    """The process: one loop for its orders, its client and the clock. Ends when the other end of ``pipe`` does."""
    player, sent, paused, client, pending = _Player(stations), 0, False, None, b""
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send("{}:{}".format(*listener.getsockname()))
    while True:
        timeout = None if client is None or paused else player.wait()
        ready = multiprocessing.connection.wait([pipe, listener if client is None else client], timeout)
        try:
            if pipe in ready:
                order, what = pipe.recv()
                if order == "play":
                    player.set_stations(what)
                elif order == "count":
                    pipe.send(("count", sent))
                else:
                    paused = what
                    player.begin()
            if listener in ready:
                client, _ = listener.accept()
                client.sendall(GREETING)
                player.begin()
            elif client in ready:
                received = client.recv(4096)
                if not received:
                    raise ConnectionError
                pending += received
                while len(pending) >= COMMAND.size:
                    command, value = COMMAND.unpack_from(pending)
                    pending = pending[COMMAND.size :]
                    pipe.send(("command", (command, value)))
                    if command == FREQUENCY:
                        player.tune(value)
                    elif command == SAMPLE_RATE:
                        player.rate = value
            if client is not None and not paused and player.wait() == 0:
                chunk = player.next()
                client.sendall(chunk)
                sent += len(chunk) // 2
        except EOFError:  # the test is gone
            return
        except ConnectionError:  # the client is gone
            client, pending = client.close(), b""
