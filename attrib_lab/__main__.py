"""`python -m attrib_lab`: the command `attrib`, where its script is not on the path."""

from .commands import main


main()
