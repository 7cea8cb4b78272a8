"""The people who were trained: who there is, what is wrong with whom, and how a person comes and goes.

``person`` is one of them, ``store`` keeps and lists them all, ``marks`` reads what their files say, ``faults`` looks
for what is wrong with these, and ``arrivals`` looks at somebody who came in a file.
"""

from easyphoto.people.person import Person, Removed
from easyphoto.people.store import PeopleStore
from easyphoto.storage.names import user_id

__all__ = ["PeopleStore", "Person", "Removed", "user_id"]
