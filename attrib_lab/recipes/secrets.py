"""Secrets by their looks: what must reach no file that others may read."""

import re


_SECRETS = {
    "a token of the Hub": r"\bhf_[A-Za-z0-9]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})",
    "an access key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google's": r"\bAIza[0-9A-Za-z_-]{35}",
    "a token of Slack": r"\bxox[abeprs]-[0-9A-Za-z-]{20,}",
    "a key of OpenAI or Anthropic": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in a web address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"']+:[^\s/:@\"']+@",
}
_ANY = re.compile("|".join(f"({pattern})" for pattern in _SECRETS.values()))


def kind_of_secret(text: str) -> str | None:
    """What kind of secret a text holds, in words; None if it looks like none."""
    match = _ANY.search(text)
    return None if match is None else list(_SECRETS)[match.lastindex - 1]


def without_secrets(text: str) -> str:
    """The text with everything that looks like a secret taken out."""
    return _ANY.sub("[secret]", text)
