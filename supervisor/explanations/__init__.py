"""What each kind of configuration problem means, at length: `vipervisor explain CODE`. Pure data, and how it is shown.

Errors are in `errors`, warnings and notes in `remarks`, by the codes of `config.problems`; a test holds them together. It imports nothing
of `config`, for an explanation must come in a moment. An example is a piece of a configuration, and `inside` names the block around it.
A test loads each: the wrong one has the problem, the right one has not.
"""

from supervisor.explanations.errors import ERRORS
from supervisor.explanations.page import Page, text_of
from supervisor.explanations.remarks import REMARKS

PAGES = {**ERRORS, **REMARKS}
"""Every code with its page."""

__all__ = ["PAGES", "Page", "text_of"]
