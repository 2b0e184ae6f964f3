"""How much one asker may ask at once: light to import, so that the command line knows the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        bytes: of its body.
        texts: in it; a pair counts as one.
        characters: of a text; of a pair, both together.
    """

    bytes: int = 1_000_000
    texts: int = 128
    characters: int = 20_000


DEFAULT_BATCH_TOKENS = 1024  # on two cores, more at once gains nothing and keeps everybody waiting
