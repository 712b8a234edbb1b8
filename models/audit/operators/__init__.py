"""What the audit knows of each operator: how to evaluate it, how it stretches and rounds."""
