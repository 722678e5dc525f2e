"""From a checkpoint to a verified ONNX bundle."""
