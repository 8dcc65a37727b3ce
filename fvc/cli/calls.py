"""The commands that run in real time: `fvc live`, `send`, `receive`, `serve`, `call` and `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fvc.cli.output import Bar, Face, Force, Json, bit_rate, extra, note_line, say
from fvc.cli.output import show as show_report
from fvc.codec.base.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog="Examples:  fvc live --camera 0 --show   |   fvc live talk.mp4 --out back.mp4")(live)
    app.command(epilog="Examples:  fvc send 192.0.2.7:5004 talk.mp4   |   fvc send 192.0.2.7:5004 --camera 0")(send)
    app.command(epilog="Example:  fvc receive 5004 --out call.mp4")(receive)
    app.command(epilog="Example:  fvc serve --port 8080")(serve)
    app.command(epilog="Examples:  fvc call LINK talk.mp4 --out back.mp4   |   fvc call LINK --camera 0 --show")(call)
    app.command(epilog="Examples:  fvc bench   |   fvc bench --quick --json")(bench)


Fps = Annotated[str, typer.Option(help="Frames per second, e.g. 15 or 30000/1001.")]
Profile = Annotated[str, typer.Option(help="What a frame carries: sup, sup+unsup, sup+unsup+expr, unsup+jac, ...")]
Camera = Annotated[int | None, typer.Option(help="Number of a camera, 0 for the first.")]
Seconds = Annotated[float | None, typer.Option(help="Stop after this many seconds.")]
Enrol = Annotated[float, typer.Option(help="Seconds at the start from which the source pictures are chosen.")]
Show = Annotated[bool, typer.Option("--show", help="Show a window.")]
Key = Annotated[
    str | None, typer.Option(envvar="FVC_KEY", metavar="KEY", help="Seals every packet: what `fvc receive` prints.")
]
Clear = Annotated[bool, typer.Option("--clear", help="Send and take packets that anybody can read and change.")]
_DEVICE = "number or name of a device, or default (needs fvc[sound])"


def live(
    video: Annotated[Path | None, typer.Argument(metavar="[IN]", help="A video, played at its speed.")] = None,
    camera: Camera = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="The project's sample, looped.")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The video to write: .mp4, .mov, .mkv or .webm.")
    ] = None,
    show: Show = False,
    fps: Fps = "15",
    profile: Profile = "sup",
    face: Face = "moving",
    seconds: Seconds = None,
    enrol: Enrol = 3.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode and decode a camera or a video in real time, and show what comes out."""
    from fvc.calls.loopback import live as run

    with Bar() as bar:
        report = run(
            video,
            camera=camera,
            synthetic=synthetic,
            out=out,
            overwrite=force,
            show=show,
            fps=fps,
            profile=profile,
            face=face,
            seconds=seconds,
            enrol_seconds=enrol,
            note=note_line,
            progress=bar,
            status=note_line,
        )
    text = (
        f"{report['frames']} frames, {report['fps']} fps, {report['motion_kbps']} kbit/s, delay"
        f" {report['delay_ms_median']} ms (p95 {report['delay_ms_p95']} ms)"
    )
    show_report(report, as_json, [text])


def send(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where `fvc receive` listens; [::1]:5004 for IPv6.")
    ],
    video: Annotated[Path | None, typer.Argument(metavar="[IN]", help="A video, played at its speed.")] = None,
    camera: Camera = None,
    microphone: Annotated[str | None, typer.Option(metavar="DEVICE", help=f"The camera's sound: {_DEVICE}.")] = None,
    fps: Fps = "15",
    profile: Profile = "sup",
    face: Face = "moving",
    motion_kbps: Annotated[
        float | None, typer.Option(help="Most kbit/s of motion, without copies; at least 0.5.")
    ] = None,
    keyframe_interval: Annotated[float, typer.Option(help="Seconds between keyframes; 0: when asked for.")] = 5.0,
    refresh: Annotated[int, typer.Option(help="Slices (2 to 16) of each keyframe; 0: whole.")] = 0,
    redundancy: Annotated[int, typer.Option(help="How often each frame is sent again, 0 to 6.")] = 2,
    frames_per_packet: Annotated[int, typer.Option(help="1 to 8; more saves headers and adds delay.")] = 1,
    audio_bitrate: Annotated[str, typer.Option(help="Opus bit rate, e.g. 6k or 24000.")] = "6k",
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    setup_kbps: Annotated[float, typer.Option(help="kbit/s at which the source pictures are sent.")] = 128,
    most_sources: Annotated[
        int, typer.Option(help="Source pictures at most: 3 at first, more when the face shows something new.")
    ] = 6,
    size: Annotated[
        int, typer.Option(help="Pixels of a side of what is drawn: 256, or 512 if the face has as many.")
    ] = 256,
    enrol: Enrol = 3.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds without a word from the receiver; at least 3 in a call.")
    ] = 10,
    seconds: Seconds = None,
    key: Key = None,
    clear: Clear = False,
    as_json: Json = False,
) -> None:
    """Send a video or a camera over UDP to `fvc receive`."""
    from fvc.calls.send import send as run

    if (key is None) != clear:
        raise UsageError("send: say `key` KEY, which `fvc receive` prints, or `clear` to send what anybody can read")

    with Bar() as bar:
        report = run(
            address,
            video,
            camera=camera,
            microphone=microphone,
            fps=fps,
            profile=profile,
            face=face,
            motion_kbps=motion_kbps,
            keyframe_interval=keyframe_interval,
            refresh=refresh,
            audio_bitrate=None if no_audio else bit_rate(audio_bitrate),
            enrol_seconds=enrol,
            redundancy=redundancy,
            frames_per_packet=frames_per_packet,
            setup_kbps=setup_kbps,
            most_sources=most_sources,
            size=size,
            timeout=timeout,
            seconds=seconds,
            key=key,
            note=note_line,
            progress=bar,
        )
    text = (
        f"{report['frames']} frames in {report['packets']} packets, motion {report['motion_kbps']} kbit/s,"
        f" on the wire {report['wire_kbps']} kbit/s; set-up {report['setup_bytes']} bytes"
    )
    show_report(report, as_json, [text])


def receive(
    port: Annotated[
        str, typer.Argument(metavar="[HOST:]PORT", help="Where to listen; without HOST: everywhere, IPv6 and IPv4.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The video to write: .mp4, .mov, .mkv or .webm.")
    ] = None,
    show: Show = False,
    virtual_camera: Annotated[
        bool, typer.Option("--virtual-camera", help="Be a camera for other programs (needs fvc[camera]).")
    ] = False,
    loudspeaker: Annotated[str | None, typer.Option(metavar="DEVICE", help=f"Play the sound: {_DEVICE}.")] = None,
    delay_ms: Annotated[float, typer.Option(help="Milliseconds that packets may be late: the jitter buffer.")] = 200,
    timeout: Annotated[float, typer.Option(help="Seconds of silence, at least 3, after which the call is over.")] = 10,
    wait: Annotated[float, typer.Option(help="Seconds to wait for somebody to call.")] = 600,
    key: Key = None,
    clear: Clear = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take one call over UDP from `fvc send`."""
    from fvc.calls.receive import receive as run
    from fvc.calls.sealing import new_key
    from fvc.calls.transport import parse_listen

    host, number = parse_listen(port)
    says_key = False
    if key is not None and clear:
        raise UsageError("receive: `key` and `clear` exclude each other")
    if key is None and not clear:
        key, says_key = new_key(), True
    with Bar() as bar:
        report = run(
            number,
            out,
            overwrite=force,
            host=host,
            show=show,
            camera=virtual_camera,
            loudspeaker=loudspeaker,
            delay=delay_ms / 1000,
            timeout=timeout,
            wait=wait,
            key=key,
            note=note_line,
            progress=bar,
            listening=lambda opened: note_line(
                f"listening on UDP port {opened}" + (f"; key: {key}" if says_key else "")
            ),
        )
    text = (
        f"{report['frames']} frames ({report['frames_concealed']} concealed, {report['frames_held']} held,"
        f" {report['frames_skipped']} skipped), on the wire"
        f" {report['wire_kbps']} kbit/s, {report['packets_lost']} packets lost, jitter {report['jitter_ms']} ms"
    )
    show_report(report, as_json, [text])


def serve(
    port: Annotated[int, typer.Option(help="TCP port to listen on; 0: any.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 or :: for all.")] = "localhost",
    public: Annotated[
        str | None, typer.Option(metavar="URL", help="Where people open it, behind a proxy with TLS: https://HOST.")
    ] = None,
    stun: Annotated[list[str] | None, typer.Option(help="stun:HOST:PORT; may be repeated.")] = None,
    turn: Annotated[list[str] | None, typer.Option(help="turn:HOST:PORT; may be repeated.")] = None,
    turn_secret: Annotated[
        str | None, typer.Option(envvar="FVC_TURN_SECRET", help="What the TURN server shares with this one.")
    ] = None,
) -> None:
    """Serve the page and the rooms in which callers meet; no media pass through."""
    with extra("web"):
        from fvc.web.server import ServeOptions
        from fvc.web.server import serve as run
    options = ServeOptions(tuple(stun or ()), tuple(turn or ()), turn_secret, public)
    run(host, port, options, note_line, lambda link: say(f"serving; a link for a call of two: {link}"))


def call(
    link: Annotated[str, typer.Argument(metavar="LINK", help="The invitation, with the part after #.")],
    video: Annotated[Path | None, typer.Argument(metavar="[IN]", help="A video to send, at its speed.")] = None,
    camera: Camera = None,
    microphone: Annotated[str | None, typer.Option(metavar="DEVICE", help=f"The camera's sound: {_DEVICE}.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The other end as a video: .mp4, .mov, .mkv or .webm.")
    ] = None,
    show: Show = False,
    loudspeaker: Annotated[str | None, typer.Option(metavar="DEVICE", help=f"Play the sound: {_DEVICE}.")] = None,
    fps: Fps = "15",
    face: Face = "moving",
    motion_kbps: Annotated[
        float | None, typer.Option(help="Most kbit/s of motion, without copies; at least 0.5.")
    ] = None,
    audio_bitrate: Annotated[str, typer.Option(help="Opus bit rate, e.g. 6k or 24000.")] = "6k",
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    enrol: Enrol = 3.0,
    delay_ms: Annotated[float, typer.Option(help="Milliseconds that packets may be late: the jitter buffer.")] = 400,
    timeout: Annotated[float, typer.Option(help="Seconds of silence after which the other end counts as gone.")] = 10,
    wait: Annotated[float, typer.Option(help="Seconds to wait for somebody.")] = 600,
    seconds: Seconds = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Talk to whoever is in the room of a link: another `fvc call`, or a browser."""
    with extra("web"):
        from fvc.web.call import call as run

    with Bar() as bar:
        report = run(
            link,
            video,
            camera=camera,
            microphone=microphone,
            out=out,
            overwrite=force,
            show=show,
            loudspeaker=loudspeaker,
            fps=fps,
            face=face,
            motion_kbps=motion_kbps,
            audio_bitrate=None if no_audio else bit_rate(audio_bitrate),
            enrol_seconds=enrol,
            delay=delay_ms / 1000,
            timeout=timeout,
            wait=wait,
            seconds=seconds,
            note=note_line,
            progress=bar,
        )
    text = (
        f"{report['frames_sent']} frames sent, {report['frames']} shown ({report['frames_held']} held), face after"
        f" {report['first_face_s']} s; sent {report['sent_bytes']} bytes, received {report['received_bytes']}"
    )
    show_report(report, as_json, [text])


def bench(
    video: Annotated[Path | None, typer.Argument(metavar="[IN]", help="A face clip. Default: the sample.")] = None,
    fps: Fps = "15",
    profile: Profile = "sup",
    source_frames: Annotated[int | None, typer.Option(help="How many source pictures, 1 to 8.")] = None,
    preset: Annotated[str, typer.Option(help="Which networks.")] = "composed",
    size: Annotated[int, typer.Option(help="Pixels of a side of what is drawn: 256 or 512.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer frames, no peers.")] = False,
    as_json: Json = False,
) -> None:
    """Measure speed, delay, memory and start-up on this machine, and how far they are from its limits."""
    from fvc.calls.capture import sample_clip
    from fvc.evaluation.speed.bench import bench as run
    from fvc.evaluation.speed.bench import lines

    with Bar() as bar:
        report = run(
            sample_clip() if video is None else video,
            fps=fps,
            profile=profile,
            source_frames=source_frames,
            preset=preset,
            size=size,
            quick=quick,
            note=note_line,
            progress=bar,
        )
    show_report(report, as_json, lines(report))
