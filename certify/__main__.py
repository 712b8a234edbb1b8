"""`python -m certify` is the command `certify`."""

from certify.cli import main

main()
