"""Tables of the command line: prose wraps at the end of the screen, what is to be copied stays whole on its line."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from editkit.cli.table import figure, number, print_table, prose, whole

PATH = "/a/folder/with a blank/" + "x" * 90
WORDS = st.text("abc [/]", min_size=1, max_size=30).map(str.strip).filter(bool)


def printed(*args: object, **more: int) -> list[str]:
    said = StringIO()
    with redirect_stdout(said):
        print_table(*args, **more)  # type: ignore[arg-type]
    return said.getvalue().split("\n")[:-1]


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    rows = [("a", "1,000", "x"), (), ("long", "7", "yy")]
    assert printed([whole("site"), number("count"), whole("on")], rows) == [
        "site  count  on",
        "a     1,000  x",
        "",
        "long      7  yy",
    ]


def test_a_table_without_heads_has_no_line_for_them() -> None:
    assert printed([whole(), prose()], [("a", "b")], gap=1) == ["a b"]


def test_a_path_longer_than_the_screen_is_neither_cut_nor_broken() -> None:
    assert printed([number("n"), whole("path")], [("1", PATH)]) == ["n  path", f"1  {PATH}"]


def test_prose_wraps_at_80_columns_between_words() -> None:
    lines = printed([whole("name"), prose("what it does")], [("uwm", "word " * 40)])
    assert max(map(len, lines)) <= 80 and len(lines) > 2
    assert " ".join(line[4:].strip() for line in lines[1:]).split() == ["word"] * 40


def test_a_long_word_in_prose_stays_whole() -> None:
    assert PATH.split()[1] in "\n".join(printed([whole(), prose()], [("model", PATH)]))


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_text_is_printed_as_it_is_whatever_brackets_are_in_it(rows: list[tuple[str, str]]) -> None:
    lines = printed([whole(), whole()], rows)
    wide = max(len(name) for name, _ in rows)
    assert lines == [f"{name:<{wide}}  {text}" for name, text in rows]


def test_styles_are_left_out_where_the_output_is_no_terminal() -> None:
    assert printed([whole()], [(Text("a", "bold red"),)]) == ["a"]


@pytest.mark.parametrize(("value", "told"), [(1234, "1,234"), (None, "-"), ("7", "-"), (True, "-"), (0, "0")])
def test_a_figure_is_a_number_or_a_dash(value: object, told: str) -> None:
    assert figure(value, ",") == told
