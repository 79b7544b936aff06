"""KGMET Workbench: edit what a language model knows, directed by a knowledge graph, and see what the edit does.

Nothing heavy is imported here. The stages, left to right::

    request → graph, lm → direction → target → write → probe → plan, report
"""

__version__ = "0.2.0"
