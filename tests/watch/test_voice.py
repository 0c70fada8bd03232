import warnings

import pytest
from torch import nn

from lightning_invert.watch.voice import Voice, explain, sentence


def test_a_message_bears_its_speaker_and_is_said_once_for_each_key(caplog):
    voice = Voice("analyze")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level("INFO"):
        warnings.simplefilter("always")
        for key in ("a", "a", "b", None, None):
            voice.warn("it is late.", once=key)
            voice.info("it is dark.", once=(key and f"{key}, too"))
    assert [str(warning.message) for warning in caught] == ["analyze: it is late."] * 4
    assert [record.getMessage() for record in caplog.records] == ["analyze: it is dark."] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a pole", "a pole."),
        ("a pole. ", "a pole."),
        ("why?", "why?"),
        ("as in\n", "as in."),
        ("(see x)", "(see x)."),
    ],
)
def test_a_sentence_ends(text, expected):
    assert sentence(text) == expected


def test_an_error_is_named_by_its_type_unless_it_explains_itself():
    assert explain(KeyError("x")) == "KeyError: 'x'"
    assert explain(ValueError("Expected 2.")) == "Expected 2."
    assert explain(RuntimeError()) == "RuntimeError: no reason given"


def test_an_error_that_shows_a_module_is_told_without_its_parts():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh(), nn.ReLU()))
    with pytest.raises(TypeError) as raised:
        print(**net)
    shown = explain(TypeError(f"{net} argument after ** must be a mapping"))
    assert shown == "TypeError: Sequential( ...\n) argument after ** must be a mapping"
    assert "Linear" not in explain(raised.value)
    listed = "Error(s) in loading:\n\tsize mismatch for a\n\tsize mismatch for b"
    assert explain(RuntimeError(listed)) == f"RuntimeError: {listed}"
