"""The operators that a program may hold: run each, know how far it stretches and how it rounds."""
