import pytest
import torch
from torch import nn

from lightning_invert import ConstantAlpha, ForwardInverseModule, ResidualMLP
from lightning_invert.pair.allowed_classes import check_allow
from lightning_invert.pair.alpha import AlphaSchedule
from tests.pair.fitting import fit, saved
from tests.projects import Smooth, quiet_trainer
from tests.strangers import crafted


class Own(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n, 4), nn.Tanh(), nn.Linear(4, m))

    def forward(self, x):
        return self.layers(x)


class Steps(AlphaSchedule):
    def __init__(self, high=0.5):
        self.high = high

    def __call__(self, epoch):
        return self.high


def own_nets():
    return {"forward_net": Own(3, 2), "inverse_net": Own(2, 3)}


def edited(folder, edit=None, *, fitted=False, **arguments):
    """The path of a checkpoint, changed as a stranger may, and the pair in it."""
    pair, path = ForwardInverseModule(**{**own_nets(), **arguments}), folder / "pair.ckpt"
    trainer = quiet_trainer(folder)
    if fitted:
        trainer.fit(pair, datamodule=Smooth())
    else:
        trainer.strategy.connect(pair)
    trainer.save_checkpoint(path)
    if edit is not None:
        checkpoint = torch.load(path, weights_only=True)
        edit(checkpoint)
        torch.save(checkpoint, path)
    return path, pair.eval()


def given_parts(**arguments):
    """All parts of a pair that a file would otherwise give."""
    penalties = dict.fromkeys(("conditioning_penalty", "jacobian_consistency"), nn.Identity())
    return {**own_nets(), **penalties, **arguments}


def assert_predicts_as(again, pair):
    x = torch.randn(5, 3)
    assert torch.equal(again.eval()(x), pair.eval()(x))


def harmful(checkpoint):
    for name in checkpoint["lightning_invert"]["parts"]:
        checkpoint["lightning_invert"]["parts"][name] = crafted("stranger.Net", 2)


def test_own_networks_load_where_they_are_allowed_by_name(tmp_path):
    path, pair = edited(tmp_path, alpha=Steps())
    with pytest.raises(TypeError, match=rf"pair.ckpt: .*`forward_net`.*allow=\['{__name__}.Own'\]"):
        ForwardInverseModule.load_from_checkpoint(path)
    again = ForwardInverseModule.load_from_checkpoint(path, allow=[__name__])
    assert_predicts_as(again, pair)
    assert isinstance(again.alpha, Steps)


def test_what_is_given_is_not_even_opened_in_the_file(tmp_path, strangers):
    path, pair = edited(tmp_path, harmful)
    given = given_parts(alpha=Steps(0.25))
    again = ForwardInverseModule.load_from_checkpoint(path, **given)
    assert again.forward_net is given["forward_net"]
    assert again.alpha is given["alpha"]
    assert_predicts_as(again, pair)
    assert strangers == []


@pytest.mark.parametrize("argument", ["hyper_parameters", "allow", "instantiator"])
def test_a_file_cannot_say_what_is_allowed_or_how_it_is_made(tmp_path, strangers, argument):
    def edit(checkpoint):
        if argument == "allow":
            harmful(checkpoint)
            checkpoint["hyper_parameters"]["allow"] = ["stranger"]
            return
        named = {"class_path": "stranger.Net", "init_args": {"n": 2}}
        checkpoint["hyper_parameters"]["forward_net"] = named
        checkpoint["hyper_parameters"]["forward_training"] = {"start_from": "stranger.ckpt"}
        if argument == "instantiator":
            known = "lightning.pytorch.cli.instantiate_module"
            checkpoint["hyper_parameters"]["_instantiator"] = known

    path, _ = edited(tmp_path, edit, forward_net=ResidualMLP(3, 2), inverse_net=ResidualMLP(2, 3))
    if argument == "allow":
        with pytest.raises(TypeError, match="which is neither torch's nor lightning_invert's"):
            ForwardInverseModule.load_from_checkpoint(path)
    else:
        again = ForwardInverseModule.load_from_checkpoint(path)
        assert isinstance(again.forward_net, ResidualMLP)
        assert again.forward_training.start_from is None
    assert strangers == []


def test_a_checkpoint_does_not_keep_what_was_allowed(tmp_path):
    path, _ = edited(tmp_path, allow=["my_package"])
    assert "allow" not in torch.load(path, weights_only=True)["hyper_parameters"]


def test_a_name_in_the_file_becomes_no_attribute(tmp_path):
    def edit(checkpoint):
        parts = checkpoint["lightning_invert"]["parts"]
        parts["_compiled_call_impl"] = parts["_forward_module"] = parts["forward_net"]

    path, _ = edited(tmp_path, edit)
    again = ForwardInverseModule.load_from_checkpoint(path, allow=[__name__])
    assert again._compiled_call_impl is None


def test_resuming_with_own_networks_and_schedule_needs_no_allowance(tmp_path):
    path, _ = edited(tmp_path, fitted=True, alpha=Steps(0.75))
    resumed = ForwardInverseModule(**own_nets(), alpha=Steps())
    fit(resumed, tmp_path, max_epochs=2, ckpt_path=path)
    assert resumed.alpha.high == 0.75  # as it was when it was left


def test_resuming_opens_no_network_that_is_there(tmp_path, strangers):
    def edit(checkpoint):
        alpha = checkpoint["lightning_invert"]["parts"]["alpha"]
        harmful(checkpoint)
        checkpoint["lightning_invert"]["parts"]["alpha"] = alpha

    path, _ = edited(tmp_path, edit)
    pair = ForwardInverseModule(**given_parts())
    quiet_trainer(tmp_path).validate(pair, datamodule=Smooth(), ckpt_path=path, verbose=False)
    assert strangers == []


def test_resuming_without_networks_takes_those_of_the_file_if_they_are_allowed(tmp_path):
    path, pair = edited(tmp_path, fitted=True)
    with pytest.raises(TypeError, match=r"`forward_net`.*allow="):
        fit(ForwardInverseModule(), tmp_path, max_epochs=2, ckpt_path=path)
    resumed = ForwardInverseModule(allow=[__name__])
    before = torch.cat([p.detach().flatten() for p in pair.parameters()])
    fit(resumed, tmp_path, max_epochs=2, ckpt_path=path)
    assert isinstance(resumed.inverse_net, Own)
    after = torch.cat([p.detach().flatten() for p in resumed.parameters()])
    assert not torch.equal(before, after)  # they are what the optimizer trains


def test_validating_anew_keeps_the_networks_that_were_fitted(tmp_path):
    pair = ForwardInverseModule()
    path, network = saved(pair, tmp_path), pair.forward_net
    pair.trainer.validate(pair, datamodule=Smooth(), ckpt_path=path, verbose=False)
    assert pair.forward_net is network


@pytest.mark.filterwarnings("ignore:Found .* in eval mode:UserWarning")  # a frozen F is
def test_a_forward_network_is_taken_from_a_file_only_if_it_is_allowed(tmp_path):
    path, given = edited(tmp_path, fitted=True)
    arguments = {"forward_training": {"start_from": path, "frozen": True}, "alpha": 1.0}
    with pytest.raises(TypeError, match=r"pair.ckpt: .*`forward_net`.*allow="):
        fit(ForwardInverseModule(**arguments), tmp_path)
    tandem = ForwardInverseModule(**arguments, allow=[f"{__name__}.Own"])
    fit(tandem, tmp_path)
    assert_predicts_as(tandem, given)
    assert not any(p.requires_grad for p in tandem.forward_net.parameters())


@pytest.mark.filterwarnings("ignore:Found .* in eval mode:UserWarning")
def test_of_a_file_that_gives_the_forward_network_nothing_else_is_opened(tmp_path, strangers):
    def edit(checkpoint):
        parts = checkpoint["lightning_invert"]["parts"]
        parts["inverse_net"] = parts["alpha"] = crafted("stranger.Net", 2)

    path, _ = edited(tmp_path, edit, forward_net=ResidualMLP(3, 2))
    tandem = ForwardInverseModule(forward_training={"start_from": path, "frozen": True})
    fit(tandem, tmp_path)
    assert strangers == []


def part_of_another_type(checkpoint):
    parts = checkpoint["lightning_invert"]["parts"]
    parts["alpha"] = crafted("torch.nn.modules.linear.Identity")


@pytest.mark.parametrize(
    ("edit", "arguments", "words"),
    [
        (part_of_another_type, own_nets(), "`alpha` .* it is of type Identity"),
        (lambda file: file.pop("lightning_invert"), {}, "it keeps no networks"),
        (None, {"forward_net": Own(4, 2), "inverse_net": Own(2, 3)}, r"\n.*size mismatch"),
        (lambda file: file.update(lightning_invert=[1]), {}, "damaged"),
        (lambda file: file["lightning_invert"].update(parts=[1]), {}, "damaged"),
        (lambda file: file["lightning_invert"].update(variables=[1]), {}, "damaged"),
    ],
    ids=["type", "foreign", "size", "damaged", "damaged parts", "damaged variables"],
)
def test_the_error_names_the_file_and_its_fault(tmp_path, edit, arguments, words):
    path, _ = edited(tmp_path, edit)
    with pytest.raises(ValueError, match=rf"pair.ckpt: .*{words}"):
        ForwardInverseModule.load_from_checkpoint(path, allow=[__name__], **arguments)


def test_weights_of_another_module_load_into_given_networks(tmp_path):
    path, pair = edited(tmp_path, lambda checkpoint: checkpoint.pop("lightning_invert"))
    assert_predicts_as(ForwardInverseModule.load_from_checkpoint(path, **own_nets()), pair)


def test_a_subclass_with_arguments_of_its_own_loads_likewise(tmp_path):
    again = Wide.load_from_checkpoint(saved(Wide(5), tmp_path), allow=["my_package"])
    assert again.forward_net.head.in_features == 5
    assert again.allow == ("my_package",)


class Wide(ForwardInverseModule):
    def __init__(self, width):
        super().__init__(
            ResidualMLP(3, 2, width=width), ResidualMLP(2, 3), alpha=ConstantAlpha(0.2)
        )
        self.save_hyperparameters()


@pytest.mark.parametrize(
    ("allow", "error"),
    [
        *((allow, TypeError) for allow in ("my_package", 3, None, {"my_package": 1})),
        *(([name], ValueError) for name in ("", ".", "a.", ".a", "a..b", "a-b", "a b", "a:b", "*")),
        ([3], ValueError),
    ],
)
def test_allow_is_a_list_of_dotted_names(allow, error):
    with pytest.raises(error, match=r"`allow` to be a list of names like"):
        check_allow(allow)
