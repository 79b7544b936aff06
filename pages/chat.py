"""One question to the unedited, the edited and the told model, side by side."""

from workbench.screens.chat.page import show

show()
