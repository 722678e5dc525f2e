"""From a bundle to streams. Needs onnxruntime and gRPC, and never torch."""

import os

# onnxruntime sends telemetry to its maker unless this is set before it is imported. A text
# generator has nothing to tell anyone; who wants to can set it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
