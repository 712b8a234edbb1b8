"""A second program for auditors: it shares file formats with the prover, and no code."""
