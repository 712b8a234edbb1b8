"""From the bytes of an ONNX file to a program, or a refusal that says why."""
