"""One notebook as one HTML file that needs no network: figures embedded, equations as MathML, solutions folded."""

from __future__ import annotations

from pathlib import Path

import jinja2
import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# nbconvert's page asks other hosts for MathJax, require.js and mermaid, and shows cells that JupyterLab collapses.
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block input %}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details><summary>Show the code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}
"""


class MathRenderer(IPythonRenderer):
    """Equations become MathML, which browsers draw by themselves."""

    def block_math(self, body: str) -> str:
        return self._math(body, "block", f"$${body}$$")

    def inline_math(self, body: str) -> str:
        return self._math(body, "inline", f"${body}$")

    def latex_environment(self, name: str, body: str) -> str:
        source = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return self._math(source, "block", source)

    def _html_embed_images(self, html: str) -> str:
        # nbconvert re-parses every piece of HTML, which closes a <details> before the text it should fold.
        return super()._html_embed_images(html) if "<img" in html else html

    def _math(self, body: str, display: str, source: str) -> str:
        try:
            return convert(body, display=display)
        except Exception:  # of many kinds, for TeX that the converter does not know: the reader sees the TeX
            return f"<code>{self.escape_html(source)}</code>"


class PageExporter(HTMLExporter):
    """nbconvert's HTML page without anything fetched from elsewhere."""

    def __init__(self, **options) -> None:
        loader = jinja2.DictLoader({"page.html.j2": TEMPLATE})
        super().__init__(template_file="page.html.j2", extra_loaders=[loader], embed_images=True, **options)

    @jinja2.pass_context
    def markdown2html(self, context, source: str) -> str:
        renderer = MathRenderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=True,
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
        )
        return MarkdownWithMath(renderer=renderer).render(source)


def write_page(nb: nbformat.NotebookNode, page: Path, folder: Path) -> None:
    """Write `nb`, whose pictures lie relative to `folder`, as `page`."""
    resources = {"metadata": {"path": str(folder), "name": page.stem}}
    html, _ = PageExporter().from_notebook_node(nb, resources=resources)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")
