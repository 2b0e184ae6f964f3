"""Where the papers of the attribution methods are to be found."""

_FOUND_AT = {
    "Abnar and Zuidema 2020": "arXiv:2005.00928",
    "Achtibat et al. 2024": "arXiv:2402.05602",
    "Ali et al. 2022": "arXiv:2202.07304",
    "Barkan et al. 2021": "arXiv:2204.11073",
    "Chefer et al. 2021": "arXiv:2103.15679",
    "Mihaila 2026": "arXiv:2601.14112",
    "Shrikumar et al. 2017": "arXiv:1704.02685",
    "Simonyan et al. 2014": "arXiv:1312.6034",
    "Song 2026": "doi:10.20944/preprints202602.0344.v1",
    "Sundararajan et al. 2017": "arXiv:1703.01365",
}
_ALSO_CALLED = {"Achtibat et al. 2024": "AttnLRP"}
_ADDRESSES = {"arXiv": "arxiv.org/abs", "doi": "doi.org"}


def paper_links(text: str) -> dict[str, str]:
    """The papers that a text cites -> their addresses; what is published under none is left out."""
    links = {}
    for citation, place in _FOUND_AT.items():
        if citation in text or _ALSO_CALLED.get(citation, citation) in text:
            kind, _, number = place.partition(":")
            links[citation] = f"https://{_ADDRESSES[kind]}/{number}"
    return links
