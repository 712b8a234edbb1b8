"""The mathematics: 1-Lipschitz networks, proofs about ONNX programs, attacks.  No Ray, no files."""
