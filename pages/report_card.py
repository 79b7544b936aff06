"""What an edit does to the model, row by row, beside telling it the fact."""

from workbench.screens.report_card.page import show

show()
