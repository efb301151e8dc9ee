"""A strict reader of report pages, shared by the report tests."""

from __future__ import annotations

from html.parser import HTMLParser

VOID_ELEMENTS = frozenset({"meta", "br", "col", "img"})


class Strict(HTMLParser):
    """Checks that tags are balanced, and keeps tags, attributes and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def checked(page: str) -> Strict:
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    ids = [attributes["id"] for _, attributes in parser.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    return parser


def assert_loads_nothing(page: str) -> None:
    for tag, attributes in checked(page).seen:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
        assert not any(name.startswith("on") for name in attributes)
        pictures = "data:image/svg+xml;base64,"
        assert (attributes.get("src") or pictures).startswith(pictures)
        assert (attributes.get("href") or "#").startswith("#")
        assert tag != "img" or attributes["alt"]
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert "@import" not in page and "url(" not in page
