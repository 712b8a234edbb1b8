"""What a user can type: each command parses, calls one function and prints."""
