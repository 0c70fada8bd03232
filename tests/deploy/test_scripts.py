import re
from collections import Counter

from lightning_invert.deploy.page import PARTS


def test_no_two_scripts_of_the_page_declare_the_same_name():
    """They become one script, in which a name that is declared twice stops all."""
    declared = re.compile(
        r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.MULTILINE
    )
    lists = re.compile(r"^(?:export )?const [\[{] ?([\w, ]+?) ?[\]}]", re.MULTILINE)
    names = Counter()
    for file in PARTS.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        names.update(declared.findall(text))
        names.update(name for names_ in lists.findall(text) for name in names_.split(", "))
    assert [name for name, count in names.items() if count > 1] == []
