"""Pages as a notebook shows them."""

from html.parser import HTMLParser


class Tree(HTMLParser):
    """The tags, text, images and cells of a page: all that is opened is closed, and no tag acts."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.images, self.rows = [], set(), "", [], []
        self.feed(page)
        self.close()
        assert self.open == []
        assert not self.tags & {"script", "style", "iframe", "link"}

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("br", "wbr", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
