"""What the commands read from a terminal and say to it: arguments, errors, progress."""
