"""What jobs report of their inputs and outputs."""

from include.jobs.lake.lineage import datasets, joined, model, table, topic


def test_what_does_not_apply_is_left_out_and_ids_keep_all_their_digits() -> None:
    assert table("sales.transactions", 2**62 + 1, 5) == {
        "kind": "table",
        "name": "sales.transactions",
        "snapshot_id": "4611686018427387905",
        "rows": 5,
    }
    assert topic("shop.transactions") == {"kind": "topic", "name": "shop.transactions"}
    assert model("recommender", "3") == {"kind": "model", "name": "recommender", "version": "3"}


def test_several_results_are_one_with_the_sum_of_rows_and_the_latest_snapshot() -> None:
    days = [
        datasets([topic("t", 3)], [table("e", 1, 2, 5), table("q", 5, 1)]),
        datasets([topic("t", 4)], [table("e", 2, 4), table("q", None, 0)]),
    ]
    assert joined(days) == datasets([topic("t", 7)], [table("e", 2, 6, 5), table("q", 5, 1)])
