"""YAML as people write it: a key that occurs twice is a mistake, and so is half of a character."""

from __future__ import annotations

from typing import Any

from editkit.files.whole_text import half_pair


def read_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        yaml.YAMLError: it is no YAML, a key occurs twice in one mapping, or a text holds half of a surrogate pair.
    """
    return _loader()(text).get_single_data()


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            lines: dict[tuple[str, str], int] = {}
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                said, line = (key.tag, str(key.value)), key.start_mark.line + 1
                if said in lines:
                    raise yaml.YAMLError(f"the key '{key.value}' occurs twice, in lines {lines[said]} and {line}")
                lines[said] = line
            return super().construct_mapping(node, deep)

        def construct_scalar(self, node: Any) -> Any:
            text = super().construct_scalar(node)
            if isinstance(text, str) and half_pair(text):
                # a pair that is written as two escapes, as JSON does, is one character
                text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            if isinstance(text, str) and (half := half_pair(text)):
                raise yaml.YAMLError(f"line {node.start_mark.line + 1} holds {half}")
            return text

    return Loader
