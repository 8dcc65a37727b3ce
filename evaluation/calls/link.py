"""A real call: `fvc send` -> a relay that loses, delays and reorders -> `fvc receive`, over loopback and in real time.

    python -m fvc.evaluation.calls.link CLIP [--loss 10] [--jitter 50] [--redundancy 3] [--profile sup] [--json F]

Prints what both ends report, what a packet capture on the loopback interface counted between the sender and the relay
(root on Linux; elsewhere the relay's own count), and how far sound and picture of the output are apart: the lag of the
sound against the clip's by cross-correlation of its loudness, that of the picture by its landmarks. Exit code 1 if the
capture disagrees with the sender's count, or sound and picture are more than 80 ms apart.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import subprocess
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

from fvc.calls.transport import UdpTransport
from fvc.codec.call.session import Address
from fvc.codec.constants import UDP_IPV4_HEADER_BYTES
from fvc.codec.errors import FvcError
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.evaluation.calls.channel import Channel, Link

_STEP = 0.01  # seconds of loudness
_MOST_LAG = 1.0  # seconds
_APART = 0.08  # seconds that sound and picture may be apart
_OUTGOING = 4  # packet type of AF_PACKET: on loopback every packet is seen twice, going out and coming in


class Relay(threading.Thread):
    """Sends on what comes on its port: the first other address is the sender's, `to` is the receiver's.

    Attributes:
        bytes: what came from the sender, with IPv4 and UDP heads.
    """

    def __init__(self, to: Address, link: Link, seed: int) -> None:
        super().__init__(daemon=True)
        self._udp, self._to = UdpTransport(host="127.0.0.1"), to
        self.there, self.back = Channel(link, seed), Channel(link, seed + 1)
        self.port, self.bytes, self._done = self._udp.port, 0, threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        sender: Address | None = None
        with self._udp:
            while not self._done.is_set():
                for data, address in self._udp.receive(time.monotonic() + 0.002):
                    if address == self._to:
                        self.back.send(time.monotonic(), data)
                        continue
                    sender = address
                    self.bytes += len(data) + UDP_IPV4_HEADER_BYTES
                    self.there.send(time.monotonic(), data)
                for data in self.there.arrived(time.monotonic()):
                    self._udp.send(data, self._to)
                if sender is not None:
                    for data in self.back.arrived(time.monotonic()):
                        self._udp.send(data, sender)

    def stop(self) -> None:
        """Ends the thread."""
        self._done.set()
        self.join()


class Capture(threading.Thread):
    """Counts the UDP packets to one port, but those from another, on the loopback interface: outside of all programs.

    Attributes:
        bytes: of the IPv4 packets; None where capturing is not allowed.
    """

    def __init__(self, port: int, but_from: int) -> None:
        super().__init__(daemon=True)
        self._port, self._but_from, self._done = port, but_from, threading.Event()
        self.bytes: int | None = None
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self._socket.bind(("lo", 0x0800))
        except (OSError, AttributeError):
            return
        self._socket.settimeout(0.05)
        self.bytes = 0

    def run(self) -> None:
        """Until `stop`."""
        while self.bytes is not None and not self._done.is_set():
            try:
                data, address = self._socket.recvfrom(65536)
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


def _cli(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "fvc", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode:
        raise FvcError((err.splitlines() or ["a process of the call failed"])[-1].removeprefix("fvc: "))
    return dict(json.loads(out))


def call(clip: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Makes the call; returns both reports and the counts of relay and capture. Raises FvcError."""
    receiver = _cli("receive", "127.0.0.1:0", "--out", out, "--delay-ms", options.delay, "--json", "--wait", 120)
    assert receiver.stderr is not None
    port = int(receiver.stderr.readline().rsplit(maxsplit=1)[-1])
    relay = Relay(("127.0.0.1", port), Link(options.loss / 100, jitter_ms=options.jitter), options.seed)
    capture = Capture(relay.port, port)
    relay.start()
    capture.start()
    try:
        sender = _cli(
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
            "--json",
            *(["--seconds", options.seconds] if options.seconds else []),
        )
        sent = _result(sender)
        received = _result(receiver)
    finally:
        receiver.kill()
        time.sleep(0.1)  # what is under way to the capture
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
        resampler, pieces = av.AudioResampler("flt", "mono", 16_000), []
        for frame in file.decode(audio=0):
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    pcm, size = np.concatenate(pieces), round(16_000 * _STEP)
    whole = pcm[: len(pcm) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((whole**2).mean(1)))


def sound_lag(clip: Path, out: Path) -> float:
    """Seconds by which the sound of `out` is behind that of `clip`."""
    a, b = (np.log(_loudness(path) + 1e-3) for path in (clip, out))
    size, reach = min(len(a), len(b)), round(_MOST_LAG / _STEP)
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
    """Seconds by which the picture of `out` is behind that of `clip`, to a fraction of a frame."""
    a, b = _landmarks(clip, fps), _landmarks(out, fps)
    size, reach = min(len(a), len(b)), round(_MOST_LAG * fps)

    def apart(lag: int) -> float:
        x, y = a[max(-lag, 0) : size - max(lag, 0)], b[max(lag, 0) : size - max(-lag, 0)]
        return float(((x - y) ** 2).mean())

    errors = [apart(lag) for lag in range(-reach, reach + 1)]
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
    print(f"sender {stated} bytes, counted outside {counted}; sound and picture {report['apart_ms']} ms apart")
    if options.json:
        options.json.write_text(json.dumps(report))
    return 0 if stated == counted and abs(report["apart_ms"]) <= 1000 * _APART else 1


if __name__ == "__main__":
    sys.exit(main())
