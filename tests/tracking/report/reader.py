"""Reads a page as a browser does, and says what is wrong with it."""

from html.parser import HTMLParser

_VOID = {"meta", "br"}
# What stands beside them is beside them: all others begin a line of their own.
_INLINE = {"a", "code", "del", "ins", "small", "span", "strong"}
# What a page is made of; a script, an image, a frame, a form or a handler of events would be none of it.
TAGS = set(
    "a article body caption circle code dd del desc details div dl dt figcaption figure footer g h1 h2 h3 h4 head header"
    " html ins li line main meta nav ol p path pre rect section small span strong style summary svg table tbody td text"
    " th thead title tr ul".split()
)
ATTRIBUTES = set(
    "aria-hidden aria-label aria-labelledby charset class content cx cy d dir height href http-equiv id lang name r role"
    " scope style tabindex text-anchor viewbox width x x1 x2 y y1 y2".split()
)


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        text: All that is shown, in order.
        tags: The names of its elements.
        elements: Each element's name and attributes.
    """

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self._open, self._text = html, [], [], []
        self.feed(html)
        self.close()
        assert self._open == [], f"never closed: {self._open}"
        self.tags = {tag for tag, _ in self.elements}
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"twice: {attrs}"
        self._space(tag)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"closed out of order: {tag}"
        self._space(tag)

    def handle_data(self, data):
        if "style" not in self._open:
            self._text.append(data)

    def _space(self, tag):
        if tag not in _INLINE:
            self._text.append(" ")

    def all(self, tag, **wanted):
        """The attributes of each element of that name that has these."""
        return [attrs for name, attrs in self.elements if name == tag and wanted.items() <= attrs.items()]

    def classes(self, name):
        """How many elements are of a class."""
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.elements)

    def assert_harmless(self):
        """It is well formed, has nothing in it that runs, and fetches nothing."""
        attributes = {name for _, attrs in self.elements for name in attrs}
        assert self.tags <= TAGS
        assert attributes <= ATTRIBUTES
        assert all(attrs["href"].startswith("#") for _, attrs in self.elements if "href" in attrs)
        assert "url(" not in self.html and "@import" not in self.html
        ids = [attrs["id"] for _, attrs in self.elements if "id" in attrs]
        assert len(ids) == len(set(ids))
