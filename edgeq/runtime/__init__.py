"""The only importer of onnxruntime: sessions, paired runs, timings, and what really executes."""
