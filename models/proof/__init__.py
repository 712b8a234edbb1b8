"""What can be proved of any ONNX classifier."""
