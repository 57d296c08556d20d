"""What every test process needs before huggingface_hub or datasets is imported: no Xet, no account, its own cache."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# How long an example may take says something of the machine, nothing of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

HOME = tempfile.mkdtemp(prefix="filterzoo-hf-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(name, None)
os.environ |= {"HF_HOME": HOME, "HF_HUB_DISABLE_XET": "1"}
