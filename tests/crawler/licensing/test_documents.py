"""Licence files: their names, and which licence a whole text is."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

from filterzoo.licensing.documents import MAX_TEXT, beside, is_licence_file, licence_of_text
from filterzoo.licensing.statements import LicenceOrigin, Statement, governing

BODY = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
MIT = f"MIT License\n\nCopyright (c) 2020 Somebody, Max Planck Institute\n\n{BODY}"


def installed(package):
    """The licence file of an installed package: a real one, as its authors wrote it."""
    paths = [path for path in distribution(package).files or () if path.name.startswith("LICENSE")]
    return Path(paths[0].locate()).read_text("utf-8")


@pytest.mark.parametrize(
    ("package", "licence"), [("timm", "apache-2.0"), ("torchvision", "bsd-3-clause"), ("pydantic", "mit")]
)
def test_real_licence_files_are_recognised(package, licence):
    assert licence_of_text(installed(package)) == licence


@pytest.mark.parametrize("text", [MIT, f"# The MIT License (MIT)\n\n----\n{BODY}", MIT.replace("\n", "\r\n"), "MIT\n"])
def test_titles_notices_and_rules_say_nothing_more(text):
    assert licence_of_text(text) == "mit"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "All you need is love.",
        MIT + "\nThe weights are for non-commercial research only.",
        "For academic purposes.\n\n" + MIT,
        MIT.replace("2020 Somebody", "2020 Somebody. Non-commercial use only"),
        MIT.replace("sublicense, and/or sell", "but not sell"),
        MIT + "\n\n" + installed("timm"),
        "x" * (MAX_TEXT + 1) + MIT,
    ],
)
def test_terms_of_its_own_and_several_licences_are_unknown(text):
    assert licence_of_text(text) is None


def test_names_of_licence_files():
    for name in ("LICENSE", "licence.md", "a/b/LICENSE.txt", "COPYING", "UNLICENSE"):
        assert is_licence_file(name), name
    for name in ("LICENSE.py", "license_plates.pt", "docs/licensing.md", "LICENSE/model.pt", "my-license.txt"):
        assert not is_licence_file(name), name


def test_the_nearest_licence_file_governs():
    paths = ["LICENSE", "a/LICENSE.md", "a/b/c.pt", "z/LICENSE"]
    assert beside(paths, "a/b/c.pt") == "a/LICENSE.md"
    assert beside(paths, "b/c.pt") == "LICENSE"
    assert beside(["z/LICENSE"], "c.pt") is None


def test_the_strictest_statement_governs_and_all_places_are_named():
    card, file = Statement("apache-2.0", LicenceOrigin.ZOO), Statement("cc-by-nc-4.0", LicenceOrigin.LICENCE_FILE)
    assert governing(card, None) == ("apache-2.0", "zoo")
    assert governing(card, file) == ("cc-by-nc-4.0", "zoo+licence-file")
    assert governing(card, Statement("ask us", LicenceOrigin.ORIGINAL)) == ("ask us", "zoo+original")
    assert governing() == governing(None, Statement(" ", LicenceOrigin.FILE)) == (None, None)
