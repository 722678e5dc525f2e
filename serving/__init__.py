"""From a bundle to streams. Needs onnxruntime and gRPC, and never torch."""
