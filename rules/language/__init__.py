"""Rule files to rules: source with places, schema, expressions, calendars, checks."""
