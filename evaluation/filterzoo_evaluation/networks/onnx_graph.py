"""An ONNX graph, run by onnxruntime: only where the user asks for it, without custom operators."""

from __future__ import annotations

import torch

from filterzoo.errors import Reason, Refused, StartError
from filterzoo_evaluation.networks.network import Network
from filterzoo_evaluation.networks.trusted import pixels


def onnx_network(content: bytes, device: str) -> Network:
    """The graph of an ONNX file with one input (n, c, h, w) and logits (n, classes) as its first output.

    Refused (unsupported) where onnxruntime does not take it. The graph's numbers and operators are a stranger's:
    onnxruntime runs them in this process.
    """
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
    except ImportError:
        raise StartError("--run-onnx needs onnxruntime: pip install 'filterzoo[evaluate]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    providers = [provider for provider in wanted if provider in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own for each kind of trouble
        raise Refused(Reason.UNSUPPORTED, f"onnxruntime: {' '.join(str(error).split())[:300]}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise Refused(Reason.UNSUPPORTED, "the graph has not one input of images")

    def classify(images: torch.Tensor) -> torch.Tensor:
        found = session.run(None, {inputs[0].name: images.cpu().numpy()})[0]
        if found.ndim != 2 or len(found) != len(images):
            raise Refused(Reason.UNSUPPORTED, f"the graph gives {found.shape}, not logits of each image")
        return torch.from_numpy(found)

    return Network(classify, pixels, "onnxruntime, images in [0, 1]", has_gradients=False)
