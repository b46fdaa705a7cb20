"""Charts: Vega-Lite specs from Altair, rendered as static SVG when the report is built."""
