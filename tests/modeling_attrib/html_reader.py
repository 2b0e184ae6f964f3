"""Reads rendered attributions as a browser would, and checks that nothing in them can act."""

import re
from html.parser import HTMLParser


FRAGMENT_TAGS = {"style", "div", "span", "bdi", "b"}
PAGE_TAGS = FRAGMENT_TAGS | {"html", "head", "meta", "title", "body", "main", "h1", "h2", "p", "section"}
STYLE = re.compile(r"--a:(0?\.\d+|1\.00)|width:\d{1,3}\.\d%")


class Reader(HTMLParser):
    """Collects elements, the attributes they carry, and the text of each element of a class or tag."""

    VOID = ("meta",)

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.unbalanced, self.other = [], [], [], []
        self.inside_texts = []
        self.feed(markup)
        self.close()
        self.unbalanced += [element["tag"] for element in self.open]

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute is given twice"
        element = {"tag": tag, "attrs": dict(attrs), "text": ""}
        self.elements.append(element)
        if any(holder["attrs"].get("class") == "attrib-text" for holder in self.open):
            self.inside_texts.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if self.open and self.open[-1]["tag"] == tag:
            self.open.pop()
        else:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def handle_comment(self, data):
        self.other.append(data)

    unknown_decl = handle_pi = handle_comment

    def texts(self, name):
        """The texts of all elements with this class, or this tag, in order."""
        return [e["text"] for e in self.elements if name in (e["attrs"].get("class"), e["tag"])]

    def words(self):
        """`(class, strength, title, text)` of each attributed word."""
        return [
            (e["attrs"].get("class"), e["attrs"].get("style"), e["attrs"]["title"], e["text"])
            for e in self.inside_texts
            if "title" in e["attrs"]
        ]


def shown(text):
    """What a reader sees of `text`: characters that HTML cannot hold are replaced, one for one."""

    def bad(c):
        return (ord(c) < 32 and c not in "\t\n\r") or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000

    return "".join("\ufffd" if bad(char) else char for char in text)


def check_inert(markup, tags):
    """Only our elements with only our attributes, all closed, nothing that runs or loads."""
    markup.encode("utf-8")
    reader = Reader(markup)
    assert reader.unbalanced == []
    assert reader.other == []
    assert {element["tag"] for element in reader.elements} <= tags
    for element in reader.elements:
        attrs = dict(element["attrs"])
        if element["tag"] in ("meta", "html"):
            continue
        assert set(attrs) <= {"class", "style", "title", "dir", "lang", "aria-hidden"}
        assert STYLE.fullmatch(attrs.get("style", "--a:.7"))
    for style in reader.texts("style"):
        assert not re.search(r"url\(|@import|expression|</", style)
    return reader
