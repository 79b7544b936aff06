"""The commands of `python -m kgmet`, one module each: `add_parser` describes it, `run` carries it out."""
