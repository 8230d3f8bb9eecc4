"""Recipes and the values of ``--set`` as plain YAML, whoever wrote them.

Only words, numbers, true, false, null, lists, and mappings of words are read. What YAML has beyond
that is refused, since it lets a few lines stand for very much, or for what nobody reads in them:
tags, anchors and aliases, merge keys, a key twice, deep nesting, numbers that are not finite.
Unlike YAML 1.1, ``on``, ``off``, ``yes``, ``no`` and dates are words, and ``1e-3`` is a number.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from slot_core import ConfigError
from slot_core.errors import printable

LONGEST = 2**16  # characters of a recipe, and of the value of a --set
LONGEST_NUMBER = 100  # characters
DEEPEST = 32  # lists and mappings within one another
PREFIX = "tag:yaml.org,2002:"


class PlainYaml(yaml.SafeLoader):
    """PyYAML's safe loader, and less."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML's, for the events that are read."""
        event: Any = self.peek_event()
        self.depth += 1
        if event.anchor is not None:  # an alias has one, too
            raise _refused("anchors and aliases are not read", event)
        if event.tag is not None:
            raise _refused(f"the tag {printable(event.tag)!r} is not read", event)
        if self.depth > DEEPEST:
            raise _refused(f"more than {DEEPEST} lists and mappings lie in one another", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """Names to values."""
        found: dict[str, Any] = {}
        for name, value in node.value:
            key = self.construct_object(name, deep=True)
            shown = printable(str(key))
            if not isinstance(key, str):
                raise _refused(f"the key {shown} is no word", name)
            if key == "<<":
                raise _refused("merge keys, <<, are not read", name)
            if key in found:
                raise _refused(f"the key '{shown}' stands twice in one mapping", name)
            found[key] = self.construct_object(value, deep=True)
        return found

    def number(self, node: yaml.ScalarNode) -> int | float:
        """One that is finite."""
        if len(node.value) > LONGEST_NUMBER:
            raise _refused(f"a number of {len(node.value)} digits is not read", node)
        whole = node.tag == f"{PREFIX}int"
        value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise _refused("a number is not finite", node)
        return value

    def word(self, node: yaml.ScalarNode) -> str:
        """Text that can be written again."""
        text = str(self.construct_scalar(node))
        text.encode()
        return text


def _refused(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


PlainYaml.yaml_constructors = {
    f"{PREFIX}str": PlainYaml.word,
    f"{PREFIX}int": PlainYaml.number,
    f"{PREFIX}float": PlainYaml.number,
    f"{PREFIX}bool": PlainYaml.construct_yaml_bool,
    f"{PREFIX}null": PlainYaml.construct_yaml_null,
    f"{PREFIX}seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    f"{PREFIX}map": PlainYaml.mapping,
}
PlainYaml.yaml_implicit_resolvers = {
    first: [
        (tag, words) for tag, words in kinds if tag.removeprefix(PREFIX) in ("int", "float", "null")
    ]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PlainYaml.add_implicit_resolver(f"{PREFIX}bool", re.compile("^(true|false)$"), list("tf"))


def parse_yaml(text: str, source: str) -> Any:
    """The value that ``text`` states; ``source`` is the file or option that it came from.

    Raises:
        ConfigError: if it is no YAML, or more than is read here.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"{source}: has more than {LONGEST:,} characters")
    try:
        return yaml.load(text, PlainYaml)  # a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML hands on what int, float and chr say of numbers and letters that there are not.
        line = printable(" ".join(str(error).split()), 300)
        raise ConfigError(f"{source}: is not readable YAML ({line})") from None
