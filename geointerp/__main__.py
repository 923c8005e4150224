"""``python -m geointerp``: the same as the command ``geointerp``."""

from geointerp.cli import main

main()
