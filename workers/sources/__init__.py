"""Where images come from: each kind of source read into parts of one form."""
