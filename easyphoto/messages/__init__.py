"""The sentences that the program says, as data: an English template with values, and the translations of templates.

Message("There is no person {name!r}.", name=name)    a text that can still be said in another language
joined([one, two], "; ")                              several such texts as one
translated(text, "zh")                                the text in another language, for the edge of the program
"""

from easyphoto.messages.languages import ENGLISH, LANGUAGES, named_in, spoken, translated
from easyphoto.messages.message import Joined, Message, from_data, joined, to_data

__all__ = [
    "ENGLISH",
    "LANGUAGES",
    "Joined",
    "Message",
    "from_data",
    "joined",
    "named_in",
    "spoken",
    "to_data",
    "translated",
]
