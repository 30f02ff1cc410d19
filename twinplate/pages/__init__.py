"""What all HTML pages share: one style, one skeleton, charts as inline SVG."""
