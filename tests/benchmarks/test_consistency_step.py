from benchmarks import consistency_step as bench


def test_consistency_is_computed_where_it_is_timed_and_nowhere_else():
    batch = bench.make_batch((2, 64, 64))
    plain = bench.make_module(loss_weights=bench.DATA_TERMS, learn_shift=False).loss_terms(batch)
    assert set(plain) == set(bench.DATA_TERMS)
    terms = bench.make_module().loss_terms(batch)
    assert terms["forward"].item() > 0


def test_rows_give_the_steps_a_second_of_each():
    found = bench.rows(size=(2, 64, 64), repeats=1)
    assert len(found) == 2
    assert all(min(row[1:]) > 0 for row in found)
