"""``edgeq run``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.output import check_output, write_text
from edgeq.cli.show import show, show_json
from edgeq.errors import DeviceError, RecipeError, ValidationFailed

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.api.running import DeviceFailure
    from edgeq.device.result import DeviceResult
    from edgeq.device.running import RunOptions

_ALL = "all"


@click.command(short_help="Run a test of a model on a device.")
@click.argument("device")
@click.argument("pack", type=options.PATH)
@click.option(
    "--profile",
    type=options.PATH,
    metavar="FILE.json",
    help="Write the time of every node.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="To measure latency for; emulated devices do not.",
)
@options.threads_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=900.0,
    show_default=True,
    metavar="S",
    help="After which a device is given up.",
)
@click.option(
    "--setup",
    is_flag=True,
    help="Make a Python environment with onnxruntime in ~/.cache/edgeq on the device first.",
)
@options.quiet_option
@options.json_option("the result")
@options.debug_option
def run(
    *,
    device: str,
    pack: Path,
    profile: Path | None,
    seconds: float,
    threads: int,
    timeout: float,
    setup: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a PACK of edgeq pack on DEVICE and tell what differs from here.

    DEVICE is local, ssh://user@host, adb://, qemu://arm64, qemu://x86-avx2, wasm://node,
    qnn://htp-sim, or all for every one that works on this machine; see edgeq device list.
    Nothing stays on the device but what --setup makes.
    """
    if profile is not None:
        check_output(profile, "--profile", [pack])
        if device == _ALL:
            raise RecipeError("profiles are of one device", where="--profile", remedy="Name one")
    from edgeq.device.running import RunOptions

    asked = RunOptions(seconds, threads, profile is not None, timeout)
    if device == _ALL:
        _run_all(pack, asked, setup=setup, quiet=quiet, as_json=as_json)
        return
    from edgeq import api

    result = api.run(device, pack, options=asked, setup_python=setup)
    if profile is not None:
        _write_profile(profile, result)
    if as_json:
        show_json(result.to_dict())
    elif not quiet:
        from edgeq.report.devices import render

        show(render(result.to_dict()))
    if not result.passed:
        raise ValidationFailed("; ".join(result.failures), where=device)


def _run_all(pack: Path, asked: RunOptions, *, setup: bool, quiet: bool, as_json: bool) -> None:
    if setup:
        raise RecipeError("--setup is for one device", where="--setup", remedy="Name the device")
    from edgeq import api

    def told(device: str) -> None:
        if not (quiet or as_json):
            click.echo(f"running on {device}", err=True)

    found = api.run_all(pack, options=asked, told=told)
    documents = [_document(each) for each in found]
    if as_json:
        show_json(documents)
    elif not quiet:
        from edgeq.report.devices import render_all

        show(render_all(documents))
    broken = [each for each in documents if each["verdict"] != "pass"]
    if broken:
        text = "; ".join(f"{each['device']}: {'; '.join(each['failures'])}" for each in broken)
        raise ValidationFailed(text, where=f"{len(broken)} of {len(found)} devices")


def _document(found: DeviceResult | DeviceFailure) -> dict[str, Any]:
    from edgeq.api.running import DeviceFailure

    if isinstance(found, DeviceFailure):
        return {"device": found.device, "verdict": "error", "failures": [str(found.error)]}
    return found.to_dict()


def _write_profile(path: Path, result: DeviceResult) -> None:
    if result.nodes is None:
        raise DeviceError(
            "its runtime does not tell the time of nodes",
            where=result.device,
            remedy="Leave out --profile, or profile on a device with Python",
        )
    write_text(path, json.dumps(result.profile(), indent=1) + "\n")
