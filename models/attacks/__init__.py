"""What can refute a certificate, and never prove it."""
