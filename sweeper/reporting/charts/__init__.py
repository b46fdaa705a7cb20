"""Charts: Vega-Lite specs written with Altair, drawn to static SVG when the report is built."""
