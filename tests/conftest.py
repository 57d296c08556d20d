"""What every test process needs before huggingface_hub or datasets is imported."""

from __future__ import annotations

import os
import tempfile

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="filterzoo-hf-home-"))
