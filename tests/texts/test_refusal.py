from texts.refusal import Refusal


def test_a_refusal_carries_its_text_and_prints_only_the_key() -> None:
    refusal = Refusal("report.too_long", limit=2000, name="Lan")

    assert (refusal.key, refusal.params) == ("report.too_long", {"limit": 2000, "name": "Lan"})
    assert str(refusal) == "report.too_long"
    assert "Lan" not in repr(refusal)
