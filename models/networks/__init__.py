"""How to make a 1-Lipschitz classifier."""
