"""The files that pages are made of: templates, style and script."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


def template(name: str) -> Template:
    """A page's template; all that is put into it is escaped, and what is not put in is an error."""
    environment = Environment(
        loader=PackageLoader("reports", "page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def page_file(name: str) -> Markup:
    """The text of one of our own files, which stands in a page as it is."""
    return Markup((files("reports") / "page" / name).read_text(encoding="utf-8"))
