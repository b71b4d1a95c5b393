"""The only loader, saver and rewirer of models. The model itself is ``onnx_ir.Model``."""
