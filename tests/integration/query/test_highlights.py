"""What of a result's texts is marked as a match."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import pytest

from query_server.search.highlight import EXCERPT_CHARACTERS
from tests.integration.query.searching import Searched, make_file


async def highlights(searched: Searched, text: str) -> Mapping[str, str]:
    (hit,) = (await searched.search(text)).hits
    return hit.highlights


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("report", {"original_filename": "\2report\3_a.pdf", "description": "Two \2Reports\3"}),
        ("rep", {"original_filename": "\2report\3_a.pdf", "description": "Two \2Reports\3"}),
        ("бухгалтериями", {"tags": "urgent, \2Бухгалтерия\3"}),
        ("договорам", {"attributes.вид": "копия \2договора\3"}),
        ("2026", {"attributes.year": "\0022026\3"}),
        ("urgent two", {"tags": "\2urgent\3, Бухгалтерия", "description": "\2Two\3 Reports"}),
    ],
)
async def test_every_form_of_a_word_is_marked_where_it_stands(
    searched: Searched, text: str, expected: Mapping[str, str]
) -> None:
    await searched.put(
        make_file(
            "report_a.pdf",
            description="Two Reports",
            tags=["urgent", "Бухгалтерия"],
            attributes={"вид": "копия договора", "year": "2026"},
        )
    )
    assert await highlights(searched, text) == expected


async def test_of_a_long_text_an_excerpt_around_the_match_is_shown(searched: Searched) -> None:
    await searched.put(make_file("a.txt", description="начало " * 200 + "needle " + "end " * 200))
    shown = (await highlights(searched, "needles"))["description"]
    assert "\2needle\3 end" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= EXCERPT_CHARACTERS + 4


async def test_of_names_that_only_resemble_the_text_the_words_that_do_are_marked(
    searched: Searched,
) -> None:
    await searched.put(make_file("new architecture plan.pdf"))
    marked = await highlights(searched, "arhitecture")
    assert marked == {"original_filename": "new \2architecture\3 plan.pdf"}


@pytest.mark.parametrize(
    ("name", "text", "marked"),
    [
        ("Мой файл.txt", "файл", "Мой \2файл\3.txt"),
        ("Мой файл.txt", "мой", "\2Мой\3 файл.txt"),
        ("がいどブック", "いど", "が\2いど\3ブック"),
        ("がいどブック", "がい", "\2がい\3どブック"),
        ("임대차계약서 2", "계약", "임대차\2계약\3서 2"),
        ("Tiếng Việt", "viet", "Tiếng \2Việt\3"),
        ("résuméÉté", "été", "résumé\2Été\3"),
    ],
)
async def test_a_name_of_macos_is_marked_as_it_is_typed_and_stays_as_it_is(
    searched: Searched, name: str, text: str, marked: str
) -> None:
    await searched.put(make_file(unicodedata.normalize("NFD", name)))
    expected = unicodedata.normalize("NFD", marked)
    for typed in (text, unicodedata.normalize("NFD", text)):
        assert await highlights(searched, typed) == {"original_filename": expected}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("budget of the final.pdf", "BudgetFinal", "\2budget\3 of the \2final\3.pdf"),
        ("budgets, finally", "FinalBudget", "\2budgets\3, \2finally\3"),
        ("Bericht 20240017 INV", "INV20240017", "Bericht \00220240017\3 \2INV\3"),
        ("QuarterlyBudgetFinal", "quarterlybudgetf", "\2QuarterlyBudgetFinal\3"),
        ("QuarterlyBudgetFinal", "budgetf", "Quarterly\2BudgetFinal\3"),
        ("SalesQ3.xlsx", "q3", "Sales\2Q3\3.xlsx"),
        ("2024年3月报告.pdf", "2024年3月", "\0022024年3月\3报告.pdf"),
        ("旅行ｶﾞｲﾄﾞ資料", "ガイド", "旅行\2ｶﾞｲﾄﾞ\3資料"),
        ("第1季度报表", "第1季", "\2第1季\3度报表"),
        ("版本v3说明", "v3", "版本\2v3\3说明"),
        ("东京都庁", "都", "东京\2都\3庁"),
    ],
)
async def test_what_matches_by_a_part_is_marked(
    searched: Searched, name: str, text: str, expected: str
) -> None:
    await searched.put(make_file(name))
    assert await highlights(searched, text) == {"original_filename": expected}


async def test_a_field_that_matches_by_a_part_alone_is_shown(searched: Searched) -> None:
    await searched.put(make_file("x", tags=["foo"], description="bar none"))
    assert await highlights(searched, "FooBar") == {
        "tags": "\2foo\3", "description": "\2bar\3 none"
    }  # fmt: skip


async def test_a_page_of_long_texts_without_spaces_is_answered(searched: Searched) -> None:
    text = "市房屋租赁东京" * 140
    files = [make_file(f"n {n}", description=f"{text}合同{text}") for n in range(40)]
    await searched.put(*files)
    page = await searched.search("合同", page_size=40)
    assert all("\2合同\3" in hit.highlights["description"] for hit in page.hits)
    assert len(page.hits) == 40


async def test_a_large_page_of_many_words_is_answered(searched: Searched) -> None:
    # Each of its 200,000 words begins as the query does.
    await searched.put(
        *(
            make_file(f"n {n}", description=" ".join(f"w{n * 500 + k}" for k in range(500)))
            for n in range(400)
        ),
        make_file("w.txt"),
    )
    page = await searched.search("w", page_size=1000)
    assert (page.total, len(page.hits)) == (401, 401)
    assert any("description" in hit.highlights for hit in page.hits)
