"""ONNX graphs in onnxruntime: a stranger's graph runs in this process, so only where the user asks for it."""
