"""A table says the same in a terminal, on a page and in a document."""

from __future__ import annotations

import re

from rich.console import Console
from svdinv_conformance.tables import Cell, Table

TABLE = Table(
    ["who", "said", "times"],
    [
        ["a", "<yes>", Cell("12", "bad")],
        ["a", "no", "3"],
        ["b", "no", Cell("4", "good")],
    ],
    title="Answers",
    note="a note",
    texts=(0, 1),
    grouped=True,
)


def printed(table: Table) -> list[str]:
    console = Console(width=80, record=True, highlight=False)
    with console.capture() as captured:
        table.print(console)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_group_is_named_once_and_numbers_are_aligned() -> None:
    title, note, _, head, _, *rows = printed(TABLE)
    assert (title, note) == ("Answers", "a note")
    assert head.split() == ["who", "said", "times"]
    first, second, between, third = rows[:4]
    assert first.split() == ["a", "<yes>", "12"]
    assert second.split() == ["no", "3"]
    assert between == ""
    assert third.split() == ["b", "no", "4"]
    assert len(first) == len(second) == len(third)


def test_the_last_row_may_sum_up() -> None:
    rows = printed(Table(["", "n"], [["a", "1"], ["b", "2"], ["all", "3"]], total=True))
    above = next(i for i, line in enumerate(rows) if line.split() == ["b", "2"])
    assert rows[above + 1] == ""
    assert rows[above + 2].split() == ["all", "3"]


def test_a_page_has_classes_and_no_markup_from_cells() -> None:
    page = TABLE.html()
    assert "&lt;yes&gt;" in page
    assert re.findall(r'<td class="([^"]*)">(\d+)', page) == [
        ("number bad", "12"),
        ("number", "3"),
        ("number good", "4"),
    ]
    assert page.count("<tr class=first>") == 2


def test_a_document_has_every_name_and_what_is_bad_in_bold() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "| who | said | times |"
    assert lines[2:] == ["| a | <yes> | **12** |", "| a | no | 3 |", "| b | no | 4 |"]
    assert TABLE.width(2) == len("times")
