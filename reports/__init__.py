"""The voice: results in, a page out."""
