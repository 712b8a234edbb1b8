"""Convolutions that are orthogonal, or nearly."""
