"""Markdown as a reader sees it."""

from markdown_it import MarkdownIt


def rendered(markdown: str) -> str:
    """The HTML that a renderer which lets every element through makes of it."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
