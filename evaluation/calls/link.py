"""A real call: `fvc send` -> a relay that loses, delays and reorders -> `fvc receive`, over loopback and in real time.

    python -m fvc.evaluation.calls.link CLIP [--loss 10] [--jitter 50] [--redundancy 3] [--profile sup] [--json F]

Prints the reports of both ends, the bytes that a packet capture on the loopback interface counted between the sender
and the relay (root on Linux; elsewhere the relay's own count), and the skew between sound and picture of the output:
the lag of the sound against the clip's by cross-correlation of its loudness, that of the picture by its landmarks. Exit
code 1 if the capture disagrees with the sender's count, or the skew is more than 80 ms.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from fvc.codec.base.constants import UDP_IPV4_HEADER_BYTES
from fvc.codec.base.errors import FvcError
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.evaluation import command
from fvc.evaluation.calls.channel import Channel, Link

Address = tuple[str, int]

_POLL = 0.002  # seconds that the relay waits for a datagram
_MAX_UDP = 65536  # bytes of a datagram
_STEP = 0.01  # seconds: of a value of loudness
_SOUND_RATE = 16_000  # samples per second that loudness is computed from
_MAX_LAG = 1.0  # seconds
_MAX_SKEW = 0.08  # seconds between sound and picture
_OUTGOING = 4  # packet type of AF_PACKET: on loopback every packet is seen twice, going out and coming in
_IPV4 = 0x0800  # ethertype


class Relay(threading.Thread):
    """Forwards datagrams between two ends over two bad links.

    `to` is the receiver's address; the other address that datagrams come from is the sender's.

    Attributes:
        port: where the sender sends to.
        there, back: the links from sender to receiver, and back.
        bytes: received from the sender, with IPv4 and UDP headers.
    """

    def __init__(self, to: Address, link: Link, seed: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(_POLL)
        self._to = to
        self._sender: Address | None = None
        self._done = threading.Event()
        self.port = int(self._socket.getsockname()[1])
        self.there, self.back = Channel(link, seed), Channel(link, seed + 1)
        self.bytes = 0

    def run(self) -> None:
        """Until `stop`."""
        with self._socket:
            while not self._done.is_set():
                self._receive()
                for data in self.there.arrived(time.monotonic()):
                    self._socket.sendto(data, self._to)
                if self._sender is not None:
                    for data in self.back.arrived(time.monotonic()):
                        self._socket.sendto(data, self._sender)

    def _receive(self) -> None:
        """Takes one datagram, if any comes within `_POLL`."""
        try:
            data, address = self._socket.recvfrom(_MAX_UDP)
        except (TimeoutError, ConnectionError):  # an end that has closed refuses datagrams
            return
        if address == self._to:
            self.back.send(time.monotonic(), data)
            return
        self._sender = address
        self.bytes += len(data) + UDP_IPV4_HEADER_BYTES
        self.there.send(time.monotonic(), data)

    def stop(self) -> None:
        """Ends the thread."""
        self._done.set()
        self.join()


class Capture(threading.Thread):
    """Counts the bytes of UDP packets to one port, except those from another, on the loopback interface.

    Attributes:
        bytes: of the IPv4 packets; None where capturing is not allowed.
    """

    def __init__(self, port: int, but_from: int) -> None:
        super().__init__(daemon=True)
        self._port, self._but_from, self._done = port, but_from, threading.Event()
        self.bytes: int | None = None
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
            self._socket.bind(("lo", _IPV4))
        except (OSError, AttributeError):
            return
        self._socket.settimeout(0.05)
        self.bytes = 0

    def run(self) -> None:
        """Until `stop`."""
        while self.bytes is not None and not self._done.is_set():
            try:
                data, address = self._socket.recvfrom(_MAX_UDP)
            except TimeoutError:
                continue
            at = 4 * (data[0] & 15)
            ports = struct.unpack_from(">HH", data, at)
            is_ours = data[9] == socket.IPPROTO_UDP and ports[1] == self._port and ports[0] != self._but_from
            if is_ours and address[2] != _OUTGOING:
                self.bytes += int.from_bytes(data[2:4], "big")

    def stop(self) -> None:
        """Ends the thread."""
        self._done.set()
        self.join()


def call(clip: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Makes the call; returns both reports and the counts of relay and capture. Raises FvcError."""
    receiver = command.start("receive", "127.0.0.1:0", "--out", out, "--delay-ms", options.delay, "--wait", 120)
    assert receiver.stderr is not None
    port = int(receiver.stderr.readline().rsplit(maxsplit=1)[-1])
    relay = Relay(("127.0.0.1", port), Link(options.loss / 100, jitter_ms=options.jitter), options.seed)
    capture = Capture(relay.port, port)
    relay.start()
    capture.start()
    try:
        sender = command.start(
            "send",
            f"127.0.0.1:{relay.port}",
            clip,
            "--profile",
            options.profile,
            "--fps",
            options.fps,
            "--redundancy",
            options.redundancy,
            "--timeout",
            60,
            *(["--seconds", options.seconds] if options.seconds else []),
        )
        sent, _ = command.report_of(sender)
        received, _ = command.report_of(receiver)
    finally:
        receiver.kill()
        time.sleep(0.1)  # for packets on their way to the capture
        capture.stop()
        relay.stop()
    return {
        "sent": sent,
        "received": received,
        "lost_by_relay": relay.there.lost,
        "bytes_by_relay": relay.bytes,
        "bytes_by_capture": capture.bytes,
    }


def _loudness(path: Path) -> np.ndarray:
    """Root mean square of each 10 ms."""
    with av.open(str(path)) as file:
        resampler, pieces = av.AudioResampler("flt", "mono", _SOUND_RATE), []
        for frame in file.decode(audio=0):
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    pcm, size = np.concatenate(pieces), round(_SOUND_RATE * _STEP)
    whole = pcm[: len(pcm) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((whole**2).mean(1)))


def sound_lag(clip: Path, out: Path) -> float:
    """Seconds by which the sound of `out` is later than that of `clip`."""
    a, b = (np.log(_loudness(path) + 1e-3) for path in (clip, out))
    size, reach = min(len(a), len(b)), round(_MAX_LAG / _STEP)
    a, b = a[:size] - a[:size].mean(), b[:size] - b[:size].mean()

    def match(lag: int) -> float:
        x, y = a[max(-lag, 0) : size - max(lag, 0)], b[max(lag, 0) : size - max(-lag, 0)]
        return float(x @ y / np.sqrt((x @ x) * (y @ y) + 1e-12))

    return max(range(-reach, reach + 1), key=match) * _STEP


def _landmarks(path: Path, fps: Fraction) -> np.ndarray:
    """[T, 66]: sup landmarks relative to their mean and size over the clip; frames without a face repeat the last."""
    rows: list[np.ndarray] = []
    with VideoReader(path) as video, FaceTracker(max_faces=1) as tracker:
        for frame in video.frames(fps):
            face = tracker.track(frame.rgb)
            rows.append(face.sup.ravel() if face else rows[-1] if rows else np.full(66, np.nan))
    found = np.array(rows, np.float64)
    found = found[np.isfinite(found).all(1)]
    return np.asarray((found - found.mean(0)) / found.std())


def picture_lag(clip: Path, out: Path, fps: Fraction) -> float:
    """Seconds by which the picture of `out` is later than that of `clip`, to a fraction of a frame."""
    a, b = _landmarks(clip, fps), _landmarks(out, fps)
    size, reach = min(len(a), len(b)), round(_MAX_LAG * fps)

    def error(lag: int) -> float:
        x, y = a[max(-lag, 0) : size - max(lag, 0)], b[max(lag, 0) : size - max(-lag, 0)]
        return float(((x - y) ** 2).mean())

    errors = [error(lag) for lag in range(-reach, reach + 1)]
    best = min(max(int(np.argmin(errors)), 1), len(errors) - 2)
    before, here, after = errors[best - 1 : best + 2]
    bend = before - 2 * here + after
    is_minimum = here < before and here < after
    return (best - reach + (0.5 * (before - after) / bend if is_minimum else 0.0)) / float(fps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--loss", type=float, default=10.0, help="percent")
    parser.add_argument("--jitter", type=float, default=50.0, help="mean delay, exponentially distributed, ms")
    parser.add_argument("--delay", type=float, default=200.0, help="of the receiver's jitter buffer, ms")
    parser.add_argument("--redundancy", type=int, default=3)
    parser.add_argument("--profile", default="sup")
    parser.add_argument("--fps", default="15")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "call.mp4"
        try:
            report = call(options.clip, out, options)
            report["sound_lag_ms"] = round(1000 * sound_lag(options.clip, out))
            report["picture_lag_ms"] = round(1000 * picture_lag(options.clip, out, Fraction(options.fps)))
        except FvcError as error:
            print(f"fvc: {error}", file=sys.stderr)
            return error.exit_code
    report["apart_ms"] = report["sound_lag_ms"] - report["picture_lag_ms"]
    stated = report["sent"]["wire_bytes"] + report["sent"]["setup_bytes"]
    counted = report["bytes_by_relay"] if report["bytes_by_capture"] is None else report["bytes_by_capture"]
    print(json.dumps(report, indent=1))
    print(f"sender {stated} bytes, counted outside {counted}; sound and picture {report['apart_ms']} ms skew")
    if options.json:
        options.json.write_text(json.dumps(report))
    return 0 if stated == counted and abs(report["apart_ms"]) <= 1000 * _MAX_SKEW else 1


if __name__ == "__main__":
    sys.exit(main())
