"""`python -m spotbed` is `spotbed`."""

from spotbed.cli import main

main()
