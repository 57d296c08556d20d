"""An ONNX graph, run by onnxruntime, without custom operators, and only if the user asks for it."""

from __future__ import annotations

import torch

from filterzoo.errors import Reason, Refused
from filterzoo.running.session import parsed, session
from filterzoo_evaluation.networks.classifier import Classifier
from filterzoo_evaluation.networks.trusted import pixels


def onnx_network(content: bytes, device: str) -> Classifier:
    """The graph of an ONNX file with one input (n, c, h, w) and logits (n, classes) as its first output.

    Refused (unsupported) if onnxruntime rejects it, or if it may not be run (`running.session.parsed`). The graph is
    untrusted input, and onnxruntime runs its operators in this process.
    """
    made = session(parsed(content), device)
    inputs = made.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise Refused(Reason.UNSUPPORTED, "the graph has not one input of images")

    def classify(images: torch.Tensor) -> torch.Tensor:
        found = made.run(None, {inputs[0].name: images.cpu().numpy()})[0]
        if found.ndim != 2 or len(found) != len(images):
            raise Refused(Reason.UNSUPPORTED, f"the graph gives {found.shape}, not logits of each image")
        return torch.from_numpy(found)

    return Classifier(classify, pixels, "onnxruntime, images in [0, 1]", has_gradients=False)
