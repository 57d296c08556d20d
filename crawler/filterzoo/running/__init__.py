"""ONNX graphs in onnxruntime. The untrusted graph then runs in this process, so only at the user's request."""
