"""Whether a recipe's files have the columns that it names, found out before anything heavy is loaded."""

from pathlib import Path

from ..recipes.recipe import DataSection
from .tables import READERS, check_header


def check_headers(section: DataSection) -> None:
    """Read the headers of a section's local files; other sources, and JSON, are checked when they are loaded.

    Raises:
        UserError: naming the first column that is missing, or a file that cannot be read.
    """
    for source in filter(None, [section.train, section.validation, section.test]):
        path = Path(source)
        if path.suffix.lower() in READERS and path.is_file() and path.stat().st_size > 3:
            check_header(path, [*section.text_columns, section.label])
