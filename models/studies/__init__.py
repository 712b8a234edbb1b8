"""What the theory says of 1-Lipschitz classifiers, one claim to a file, each put to the test."""
