"""Charts of the report page, as SVG in the page and as PNG files."""
