from tests.data.make_runs import make_run
from tools.report.runs import read_run
from tools.report.settings import name_of_variant, settings_table, variant_of


def test_the_table_holds_each_value_once(tmp_path):
    runs = [
        read_run(make_run(tmp_path, name, settings={"lr": lr})) for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.1))
    ]
    runs[2].settings = {}
    table = settings_table(runs)
    at = table["keys"].index("model.init_args.lr")
    assert [table["values"][row[at]] for row in table["runs"][:2]] == ["0.1", "0.2"]
    assert set(table["runs"][2]) == {-1}
    assert len(table["values"]) == len(set(table["values"]))
    differing = [key for key, a, b in zip(table["keys"], *table["runs"][:2], strict=True) if a != b]
    assert differing == ["model.init_args.lr"]


def test_variants_differ_in_settings_but_not_in_seeds_and_places(tmp_path):
    def variant(name, seed=0, **settings):
        return variant_of(read_run(make_run(tmp_path, name, seed=seed, settings=settings)))

    first = variant("a", seed=0)
    assert variant("b", seed=1) == first
    assert variant("c", seed=1, lr=0.2) != first
    assert variant("d", checkpoint="runs/x/start_s0/last.ckpt") == variant("e", checkpoint="runs/x/start_s1/last.ckpt")
    assert variant("f", checkpoint="runs/y/start_s0/last.ckpt") != variant("g", checkpoint="runs/x/start_s1/last.ckpt")


def test_names_of_variants(tmp_path):
    def name(*ids):
        return name_of_variant([read_run(make_run(tmp_path / ids[0], each)) for each in ids])

    assert name("consistency_no_mask_s0", "consistency_no_mask_s1") == "lite_unet: consistency_no_mask"
    assert name("20261130-101010-0001", "20261130-101010-0002") == "lite_unet"
    assert name("20261130-101010-80ad") == "lite_unet"
    assert name("one", "other") == "lite_unet"
