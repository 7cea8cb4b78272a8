"""What the program says, as data: a template in English with its values, and its translations.

Message("There is no person {name!r}.", name=name)    a text that can still be said in another language
joined([one, two], "; ")                              several of them in one
translated(text, "zh")                                the same in another language, at the edge
"""

from easyphoto.messages.languages import LANGUAGES, translated
from easyphoto.messages.message import Joined, Message, from_data, joined, to_data

__all__ = ["LANGUAGES", "Joined", "Message", "from_data", "joined", "to_data", "translated"]
