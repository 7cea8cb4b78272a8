"""What the rows of a table ask for, checked whole: every fault of every row, found through the declared parameters, the
lookups and the sentences that a single request meets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from easyphoto import naming
from easyphoto.batch.faults import LONGEST, Fault, Once, Wrong, WrongRows, shortened
from easyphoto.batch.given import GivenTemplate, Places, look_at
from easyphoto.batch.table import Table, TableRow
from easyphoto.config import AUTO, Declared, PortraitConfig, declared, from_mapping
from easyphoto.config import checked as checked_value
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message
from easyphoto.pictures import Source
from easyphoto.service import NOBODY, Accepted, EasyPhoto, PortraitRequest
from easyphoto.storage import names

USER, TEMPLATE, POSE, OUTPUT = "user", "template", "pose", "output"
COLUMNS: Mapping[str, str] = MappingProxyType({
    "user": USER, "users": USER, "user_id": USER, "user_ids": USER,
    "template": TEMPLATE, "templates": TEMPLATE, "preset": TEMPLATE, "presets": TEMPLATE,
    "pose": POSE, "pose_template": POSE,
    "output": OUTPUT, "output_name": OUTPUT,
})  # fmt: skip
"""The columns beside the parameters, and the names by which commands and API call the same."""
SEVERAL = "|"
"""Stands between several people or templates in one text: no name of a person has it."""
MAX_OUTPUT = 100
"""Bytes of an output name: a number and an ending come behind it."""
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]{1,3})?")
_BUT_SEEDS = attrgetter(*(d.name for d in declared(PortraitConfig) if d.name not in ("seed", "batch_size")))
_TEXT = Message("a text")
LONGEST_SENTENCE = 400
"""Characters of what is said of one value, which may be as long as the table."""


@dataclass(frozen=True, eq=False)
class AskedRow:
    """A row that can be made: what is asked, what it comes to, and what its portraits are to be called, "" where
    nobody said."""

    line: int
    user_ids: tuple[str, ...]
    templates: tuple[GivenTemplate, ...]
    config: PortraitConfig
    accepted: Accepted
    pose: Source | None = None
    output: str = ""
    chosen: frozenset[str] = frozenset()
    """The parameters that the row has a value for."""

    @property
    def portraits(self) -> int:
        return max(1, len(self.templates)) * self.config.batch_size

    def request(self) -> PortraitRequest:
        sources = tuple(template.source for template in self.templates)
        return PortraitRequest(self.user_ids, sources, self.config, self.pose, chosen=self.chosen)


@dataclass(frozen=True, eq=False)
class CheckedRows:
    """The rows that can be made, and every fault of the others in the order of their lines."""

    orders: tuple[AskedRow, ...]
    faults: tuple[Fault, ...]


def check(table: Table, service: EasyPhoto, places: Places) -> CheckedRows:
    """Look at every row, and at all of them together. Nothing is queued and nothing written."""
    return _Checker(service, places, typed=table.typed).check(table)


def require(table: Table, service: EasyPhoto, places: Places) -> tuple[AskedRow, ...]:
    """The rows of a table without a fault. :class:`WrongRows` for any other."""
    found = check(table, service, places)
    if found.faults:
        raise WrongRows(table.name, found.faults)
    return found.orders


class _Checker:
    """Checks one table. What many rows have in common is looked up once."""

    def __init__(self, service: EasyPhoto, places: Places, *, typed: bool) -> None:
        self._service = service
        self._places = places
        self._typed = typed
        self._declared = {d.name: d for d in declared(PortraitConfig)}
        self._person = Once(service.people.get)
        self._found = Once(self._look_for_templates)
        self._posed = Once(self._look_for_pose)
        self._checked = Once(self._check_value)
        self._accepted = Once(self._accept)
        self._config: Once[tuple[tuple[str, Any], ...], PortraitConfig] = Once(
            lambda chosen: from_mapping(PortraitConfig, dict(chosen))
        )

    def check(self, table: Table) -> CheckedRows:
        faults = list(table.faults)
        unknown = frozenset[str]()
        if table.header is not None:
            unknown, wrong = self._header(table.columns)
            faults += [Fault(table.header, message) for message in wrong]
        orders = []
        for row in table.rows:
            wrong = Wrong()
            order = self._order(row, unknown, wrong)
            if order is not None and not wrong:
                orders.append(order)
            faults += [Fault(row.line, message) for message in wrong]
        faults += twice(orders)
        return CheckedRows(tuple(orders), tuple(sorted(faults, key=lambda fault: fault.line)))

    # --- columns -----------------------------------------------------------------------------------------------------

    def _header(self, columns: Iterable[str]) -> tuple[frozenset[str], Wrong]:
        """The columns that mean nothing, and a sentence for each."""
        wrong = Wrong()
        self._named(dict.fromkeys(columns), frozenset(), wrong)
        return frozenset(column for column in columns if self._meaning(column) is None), wrong

    def _meaning(self, column: str) -> str | None:
        """The parameter, or one of ours, that a column names; None where it names nothing."""
        name = column.strip().lower().replace("-", "_").replace(" ", "_")
        return COLUMNS.get(name) or (name if name in self._declared else None)

    def _named(self, row: Mapping[str, Any], passed_over: frozenset[str], wrong: Wrong) -> dict[str, Any]:
        """The values of a row by what their columns mean; what is wrong with the columns is added to ``wrong``."""
        values, columns = dict[str, Any](), dict[str, str]()
        for column, value in row.items():
            name = self._meaning(column)
            if name is None:
                if column not in passed_over:
                    wrong.append(self._unknown(column))
            elif name in values:
                wrong.append(
                    Message("{one} and {other} say the same: keep one.", one=columns[name], other=repr(column)[1:-1])
                )
            else:
                values[name], columns[name] = value, column
        return values

    def _unknown(self, column: str) -> str:
        said = Message("Unknown parameter: {names}.", names=shortened(column))
        hint = naming.did_you_mean(column[:LONGEST], [*COLUMNS, *self._declared])
        return Message("{said}{hint}", said=said, hint=hint) if hint else said

    # --- rows --------------------------------------------------------------------------------------------------------

    def _order(self, row: TableRow, unknown: frozenset[str], wrong: Wrong) -> AskedRow | None:
        """The row as an order, None where nothing can be said of it; what is wrong with it is added to ``wrong``."""
        values = self._named(row.values, unknown, wrong)
        users = wrong.unless(self._texts, USER, values.pop(USER, ""))
        template_names = wrong.unless(self._texts, TEMPLATE, values.pop(TEMPLATE, ""))
        found = [wrong.unless(self._found, name) for name in template_names or ()]
        pose_name = wrong.unless(self._text, POSE, values.pop(POSE, ""))
        pose = wrong.unless(self._posed, pose_name) if pose_name else None
        output = wrong.unless(self._output, values.pop(OUTPUT, ""))
        given = {name: wrong.unless(self._value, name, value) for name, value in values.items()}
        chosen = {name: value for name, value in given.items() if value is not None}
        if users is None or template_names is None or None in found or (pose_name and pose is None):
            for user in users or ():
                if user != NOBODY:
                    wrong.unless(self._person, user)
            return None
        config: PortraitConfig = self._config(tuple(sorted(chosen.items())))
        templates = tuple(template for several in found for template in several or ())
        accepted = wrong.unless(
            self._accepted,
            (
                users,
                config.sd_model_checkpoint,
                config.scene_id,
                config.t2i_control_way,
                config.lcm_accelerate,
                (config.ref_mode_choose, config.no_user_lora_mode),
                bool(config.text_to_image_input_prompt.strip()),
                bool(templates),
                pose is not None,
            ),
        )
        if accepted is None:
            return None
        return AskedRow(row.line, accepted.user_ids, templates, config, accepted, pose, output or "", frozenset(chosen))

    def _accept(
        self, question: tuple[tuple[str, ...], str, str, str, bool, tuple[str, str], bool, bool, bool]
    ) -> Accepted:
        """What the service says of all rows that are alike in what it asks about before a job is queued."""
        users, checkpoint, scene, way, lcm, reference, prompt, templates, pose = question
        config = PortraitConfig(
            sd_model_checkpoint=checkpoint,
            scene_id=scene,
            t2i_control_way=way,
            lcm_accelerate=lcm,
            ref_mode_choose=reference[0],
            no_user_lora_mode=reference[1],
            text_to_image_input_prompt="a prompt" if prompt else "",
        )
        request = PortraitRequest(users, (b"",) if templates else (), config, b"" if pose else None)
        return self._service.accept(request, self._person)

    # --- values ------------------------------------------------------------------------------------------------------

    def _texts(self, column: str, value: Any) -> tuple[str, ...]:
        """One text or several, as a list or in one text with :data:`SEVERAL` between them."""
        several = value if isinstance(value, list) else str(value).split(SEVERAL) if isinstance(value, str) else [value]
        if not all(isinstance(one, str) for one in several):
            raise InvalidRequest("{name} must be {kind}, not {value!r}.", name=column, kind=_TEXT, value=_shown(value))
        return tuple(one.strip() for one in several if one.strip())

    def _text(self, column: str, value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidRequest("{name} must be {kind}, not {value!r}.", name=column, kind=_TEXT, value=_shown(value))
        return value.strip()

    def _output(self, value: Any) -> str:
        name = self._text(OUTPUT, value)
        name = name[:-4].strip() if name.lower().endswith(".png") else name
        if name and (not names.portable(name) or len(name.encode()) > MAX_OUTPUT):
            raise InvalidRequest(
                "The output name {name!r} can't be a file's name on every system: choose another.", name=shortened(name)
            )
        return name

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, (list, dict)):
            return self._check_value((name, list, _shown(value)))
        return self._checked((name, type(value), value))

    def _check_value(self, given: tuple[str, type, Any]) -> Any:
        name, _, value = given
        d = self._declared[name]
        try:
            meant = value if self._typed else from_text(d, value)
            return meant if d.param.tried and meant == AUTO else checked_value(d, meant)
        except InvalidRequest as error:
            if len(error.message) <= LONGEST_SENTENCE:
                raise
            raise InvalidRequest("{said}...", said=error.message[:LONGEST_SENTENCE]) from error

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _look_for_templates(self, name: str) -> tuple[GivenTemplate, ...]:
        found = self._places.templates(name)
        for template in found:
            look_at(template.source)
        return found

    def _look_for_pose(self, name: str) -> Source:
        found = self._places.picture(name)
        look_at(found)
        return found


def from_text(d: Declared, text: str) -> Any:
    """What a text of a table means for a parameter; the text itself where it means nothing, which is then refused."""
    plain = text.strip()
    if d.type is bool:
        return True if plain.lower() in _YES else False if plain.lower() in _NO else text
    if d.type is int and _INTEGER.fullmatch(plain):
        return int(plain)
    if d.type is float and _NUMBER.fullmatch(plain):
        return float(plain.replace(",", "."))
    if d.param.tried and plain.lower() == AUTO:
        return AUTO
    return text


def twice(orders: Iterable[AskedRow]) -> list[Fault]:
    """A fault for every row that asks for a portrait, or for a name, that a row before it asks for."""
    faults: list[Fault] = []
    asked, called = dict[Any, int](), dict[str, int]()
    for order in orders:
        said = set()
        for portrait in _asked(order):
            if asked.setdefault(portrait, order.line) != order.line:
                said.add(Message("The same portrait is asked for in line {line}.", line=asked[portrait]))
        for name in output_names(order):
            if called.setdefault(names.key(name), order.line) != order.line:
                line = called[names.key(name)]
                said.add(Message("The output name {name!r} is taken by line {line}.", name=order.output, line=line))
        faults += [Fault(order.line, message) for message in sorted(said)[:1]]
    return faults


def output_names(order: AskedRow) -> list[str]:
    """What the portraits of a row with an output name are called, without their ending; nothing for one without."""
    if not order.output:
        return []
    if order.portraits == 1:
        return [order.output]
    return [f"{order.output}-{number}" for number in range(1, order.portraits + 1)]


def _asked(order: AskedRow) -> Iterator[tuple[Any, ...]]:
    """What tells each portrait of a row from all others, without reading a template."""
    config = _BUT_SEEDS(order.config)
    seeds = [-1 if order.config.seed < 0 else order.config.seed + i for i in range(order.config.batch_size)]
    for template in order.templates or (None,):
        source = None if template is None else template.source
        for i, seed in enumerate(seeds):
            yield order.user_ids, source, order.pose, config, seed, i if seed < 0 else 0


def _shown(value: Any) -> str:
    return shortened(str(value))
