"""The command `attrib`, also as `python -m attrib_lab`."""

from .errors import run_command


def main() -> None:
    """Entry point; where the package was installed without its extras, it says so."""
    run_command(_main)


def _main() -> None:
    from . import commands

    commands.main()


if __name__ == "__main__":
    main()
