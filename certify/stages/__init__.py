"""The stages of a run: each takes artefacts of its folder and gives the next ones."""
