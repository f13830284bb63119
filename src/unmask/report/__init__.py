"""Records to rows to figures to one self-contained page; reads files only."""
