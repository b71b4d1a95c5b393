"""Changing packs, as damage or a stranger would."""

import hashlib
import json

import numpy as np
import onnx

from edgeq.device.running import RunOptions


def rehash(entries):
    """Bring the manifest's hashes up to what the entries are, as a stranger would."""
    manifest = json.loads(entries["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in entries.items()
        if name != "manifest.json"
    }
    entries["manifest.json"] = json.dumps(manifest).encode()


def edit_manifest(entries, edit):
    """Apply ``edit(manifest)`` to the manifest among ``entries``."""
    manifest = json.loads(entries["manifest.json"])
    edit(manifest)
    entries["manifest.json"] = json.dumps(manifest).encode()


def damage_weights(entries):
    """Shift the last bias of the packed model: every output is then off."""
    model = onnx.load_from_string(entries["model.onnx"])
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size == 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.5), tensor.name))
    entries["model.onnx"] = model.SerializeToString()


QUICK = RunOptions(seconds=0.0, threads=1, timeout=120.0)
