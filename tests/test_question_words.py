"""Which words of a question are looked up."""

from __future__ import annotations

from backchat.services.question_words import BUDGET, LONGEST, MOST, Sample, bounded, chosen, telling, with_stems


class TestWordsOfAQuestion:
    def test_what_tells_passages_apart(self) -> None:
        assert telling("What is the refund policy in the EU?") == ["refund", "policy", "eu"]
        assert telling("Wie lange dauert die Rückgabe?") == ["lange", "dauert", "ruckgabe"]
        assert telling("¿Cuándo llega el pedido?") == ["llega", "pedido"]
        assert telling("a b 5 c") == ["5"]
        assert telling("東京 is a tower") == ["東", "京", "tower"]
        assert telling("what is it?") == ["what", "is", "it"]
        assert telling("x y") == ["x"]  # "y" is Spanish for "and"
        assert telling("!?") == []

    def test_forms_of_words(self) -> None:
        assert with_stems(["tea", "dates", "policies", "formatted", "b2b2b2", "東"]) == [
            *("tea", "dates", "policies", "formatted", "b2b2b2", "東", "date", "polic", "format")
        ]
        assert with_stems(["date", "dates"]) == ["date", "dates"]

    def test_a_long_question_keeps_its_ends(self) -> None:
        long = bounded("begin " + "x" * 100_000 + " end")
        assert len(long) <= LONGEST + 1
        assert long.startswith("begin ")
        assert long.endswith(" end")
        assert bounded("short") == "short"

    def test_the_longest_words_without_a_sample(self) -> None:
        candidates = ["w" * n for n in range(1, 100)]
        assert chosen(candidates, None) == list(reversed(candidates))[:MOST]

    def test_the_rarest_words_with_a_sample(self) -> None:
        texts = ["report tea" if n == 0 else "report yearly" if n < 50 else "report" for n in range(100)]
        sample = Sample.of(texts, 100 * BUDGET)
        assert sample.hits("rep") == 100 * BUDGET
        assert sample.hits("tea") == BUDGET
        assert 0 < sample.hits("zebra") < BUDGET
        assert chosen(["report", "yearly", "tea", "zebra"], sample) == ["zebra"]
        assert chosen(["report", "yearly"], sample) == ["yearly"]
        assert chosen(["report"], sample) == ["report"]
        small = Sample.of(texts, 100)
        assert chosen(["report", "yearly", "tea"], small) == ["tea", "yearly", "report"]
