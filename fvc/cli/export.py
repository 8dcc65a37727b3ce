"""The commands `fvc export onnx|openvino|coreml`: the shipped networks for other runtimes (needs fvc[export])."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fvc.cli.output import Force, extra
from fvc.codec.base.errors import FvcError, OutputError

app = typer.Typer(
    help="Write the shipped networks for other runtimes (needs fvc[export]).",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(root: typer.Typer) -> None:
    """Adds the commands."""
    root.add_typer(app, name="export")


Out = Annotated[Path, typer.Option(help="Folder to write: new or empty, or with --force one of an earlier export.")]
PresetName = Annotated[str, typer.Option(help="Which networks. Default: those of fvc encode.")]


def _preset(name: str, out: Path, marker: str, force: bool) -> str:
    """The name of the preset; checks that it is installed and `out` can be written. `marker`: see `check_folder`."""
    from fvc.codec.media.output import check_folder
    from fvc.jobs.paths import file_path
    from fvc.models.presets import DEFAULT
    from fvc.models.weights import require_shipped

    preset = name or DEFAULT
    require_shipped(preset)
    check_folder(file_path(out), marker, force)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror}") from None
    return preset


@app.command(epilog="Example:  fvc export onnx --out build/onnx")
def onnx(out: Out, preset: PresetName = "", force: Force = False) -> None:
    """ONNX, opset 17, float32; each file is compared with torch through ONNX Runtime."""
    name = _preset(preset, out, "manifest.json", force)
    with extra("export"):
        from fvc.export.onnx_graphs import export_onnx
    export_onnx(name, out, typer.echo)


@app.command(epilog="Example:  fvc export openvino --out build/openvino")
def openvino(out: Out, preset: PresetName = "", force: Force = False) -> None:
    """OpenVINO, as fvc itself runs it."""
    from fvc.models.presets import DEFAULT
    from fvc.models.weights import folder_of

    weights = folder_of(preset or DEFAULT) / "weights.safetensors"
    if os.path.realpath(out) == os.path.realpath(weights.parent):
        raise FvcError(f"{out}: holds the shipped graphs; choose another folder")
    name = _preset(preset, out, "manifest.json", force)
    with extra("export"):
        from fvc.export.openvino_graphs import convert

        convert(weights, name, out)
    for path in sorted(out.iterdir()):
        typer.echo(f"{path.name}: {path.stat().st_size} bytes")


@app.command(epilog="Example:  fvc export coreml --out build/coreml --target iOS15")
def coreml(
    out: Out,
    preset: PresetName = "",
    target: Annotated[str, typer.Option(help="iOS15, iOS16, iOS17 or iOS18.")] = "iOS15",
    sources: Annotated[int, typer.Option(help="How many source pictures the receiver takes.", min=1, max=8)] = 4,
    force: Force = False,
) -> None:
    """Core ML programs (.mlpackage) in float16; each is checked here without a Mac, see export/README.md."""
    name = _preset(preset, out, "report.json", force)
    with extra("export"):
        from fvc.export.coreml import export_coreml
    export_coreml(name, out, target, sources, typer.echo)
