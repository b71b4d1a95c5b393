"""The only importer of onnxruntime: sessions, paired runs, timings, and what really executes."""

import os

# From 1.29 on it keeps a device id in the home folder and reports on the models it runs. Nothing
# but this, set before it is loaded, keeps it from both
# (https://github.com/microsoft/onnxruntime/pull/27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
