"""The option ``trainer.sync_batchnorm`` of the command line: the plugin that a run gets."""

from pathlib import Path

import pytest
from torch import nn

from lightning_modules.runs.batch_norm_sync import BatchNormSync
from networks.batch_norm import SynchronisedBatchNorm


def test_norms_are_replaced_for_the_training_and_stay_afterwards():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)))
    weight, plugin = net[1][0].weight, BatchNormSync()
    applied = plugin.apply(net)
    assert [type(m) for m in applied[1]] == [SynchronisedBatchNorm, nn.InstanceNorm2d, nn.GroupNorm]
    assert applied[1][0].weight is weight
    assert plugin.revert(applied) is applied


def test_the_command_line_gives_the_trainer_this_plugin(rooms_root, monkeypatch):
    import cli

    seen = {}

    def trainer(self, config, callbacks):
        seen.update(config)
        raise SystemExit(0)

    monkeypatch.setattr(cli.PlumblineCLI, "_instantiate_trainer", trainer)
    root = Path(cli.__file__).parent
    words = ["fit", "--config", str(root / "experiments" / "fcn_ssim.yaml")]
    words += ["--config", str(root / "tests" / "overlays" / "rooms.yaml"), "--data.init_args.root", str(rooms_root)]
    for more, wanted in (([], False), (["--trainer.sync_batchnorm", "true"], True)):
        with pytest.raises(SystemExit, match="0"):
            cli.main([*words, *more])
        assert seen["sync_batchnorm"] is False
        assert any(isinstance(plugin, BatchNormSync) for plugin in seen["plugins"]) is wanted
        assert len(seen["plugins"]) == 1 + wanted
