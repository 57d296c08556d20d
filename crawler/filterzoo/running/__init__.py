"""ONNX graphs in onnxruntime. An untrusted graph then runs in this process, so only on the user's request."""
