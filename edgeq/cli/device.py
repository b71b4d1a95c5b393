"""``edgeq device``."""

from __future__ import annotations

import click

from edgeq.cli import options
from edgeq.cli.show import show, show_json


@click.group(short_help="Make devices ready, and list them.")
def device() -> None:
    """Devices that edgeq run knows: what works on this machine, and what is missing."""


@device.command(name="list", short_help="What works here, and what is missing.")
@options.json_option("the list")
@options.debug_option
def list_(*, as_json: bool) -> None:
    """List the kinds of devices, and what is missing for those that do not work here."""
    from edgeq import api

    rows = [
        {
            "device": offer.form,
            "what": offer.summary,
            "ready": offer.missing is None,
            "missing": offer.missing,
            "has": dict(offer.has),
        }
        for offer in api.devices()
    ]
    if as_json:
        show_json(rows)
        return
    from edgeq.report.devices import render_list

    show(render_list(rows))


@device.command(short_help="Build what an emulated device needs.")
@click.argument("device")
@click.option("--again", is_flag=True, help="Build it even if it is there.")
@options.json_option("the versions")
@options.debug_option
def setup(*, device: str, again: bool, as_json: bool) -> None:
    """Build what DEVICE needs in the user's cache: qemu://arm64, qemu://x86-avx2, wasm://node.

    Debian packages, wheels and npm packages come from where this machine is set up to get them;
    nothing is installed outside of the cache ($XDG_CACHE_HOME/edgeq).
    """
    from edgeq import api

    versions = api.set_up(device, again=again)
    if as_json:
        show_json(versions)
        return
    from edgeq.report.devices import render_versions

    show(render_versions(device, versions))
