"""Upper bounds on operator norms: of matrices, of convolutions, and distances between rows."""
