import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterzoo.errors import Reason
from filterzoo.licensing.licences import Licence, LicenceClass, Policy, Unknown
from filterzoo.licensing.names import SPELLINGS


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "mit"),
        ("apache-2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("  Apache   License,\n Version 2.0. ", "apache-2.0"),
        ("BSD 3-Clause", "bsd-3-clause"),
        ("AGPL-3.0", "agpl-3.0-only"),
        ("AGPL-3.0 License (https://ultralytics.com/license)", "agpl-3.0-only"),
        ("License :: OSI Approved :: MIT License", "mit"),
        ("License :: OSI Approved\nLicense :: OSI Approved :: MIT License", "mit"),
        ("License :: OSI Approved :: MIT License\nLicense :: OSI Approved :: ISC License (ISCL)", "isc and mit"),
        ("MIT OR (GPL-2.0-only WITH Classpath-exception-2.0)", "mit or gpl-2.0-only with classpath-exception-2.0"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("llama2", "licenseref-scancode-llama-2-license-2023"),
        # Never guessed:
        (None, None),
        ("", None),
        (" \n", None),
        ("BSD", None),
        ("Apache", None),
        ("GPL", None),
        ("License :: OSI Approved", None),
        ("License :: OSI Approved :: BSD License", None),
        ("License :: OSI Approved :: Apache Software License", None),
        ("License :: OSI Approved :: MIT License\nLicense :: OSI Approved :: BSD License", None),
        ("GNLv3", None),
        ("other", None),
        ("unknown", None),
        ("see LICENSE", None),
        ("MIT, but not on Sundays", None),
        ("MIT License\n\nCopyright (c) 2020 Somebody", None),
        ("MIT AND", None),
        ("AND", None),
        ("(" * 400, None),
        ("mit\x00", None),
        ("x" * 100_000, None),
    ],
)
def test_a_text_becomes_spdx_or_stays_unknown(text, expression):
    assert Licence.parse(text).expression == expression


def test_every_spelling_leads_to_a_licence_with_a_class():
    for spelling in SPELLINGS:
        expression = (
            Licence.parse(spelling).expression or Licence.parse(spelling.replace("license ::", "License ::")).expression
        )
        assert expression, spelling
        assert Licence.parse(expression).expression == expression
        assert Licence.parse(expression).licence_class is not LicenceClass.UNKNOWN, spelling


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(["mit", "AND", "or", "(", ")", "gpl-3.0", "with"])).map(" ".join)
)
def test_any_text_has_an_answer_that_is_stable(text):
    expression = Licence.parse(text).expression
    assert expression is None or Licence.parse(expression).expression == expression
    assert Licence.parse(expression).licence_class in LicenceClass
    Policy().decide(Licence.parse(expression))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mit", "permissive"),
        ("cc0-1.0", "permissive"),
        ("cc-by-4.0", "attribution"),
        ("cc-by-sa-4.0", "share-alike"),
        ("agpl-3.0", "share-alike"),
        ("bigscience-openrail-m", "share-alike"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("cc-by-nc-sa-4.0", "non-commercial"),
        ("LicenseRef-scancode-unknown", "unknown"),
        ("cc-by-nd-4.0", "no-redistribution"),
        ("cc-by-nc-nd-4.0", "no-redistribution"),
        ("Proprietary", "no-redistribution"),
        ("mit AND cc-by-nc-4.0", "non-commercial"),
        ("mit OR cc-by-nc-4.0", "permissive"),
        ("gpl-2.0 WITH classpath-exception-2.0", "share-alike"),
    ],
)
def test_classes(text, expected):
    assert Licence.parse(text).licence_class == expected


def test_no_licence_is_the_class_unknown():
    assert Licence.parse(None).licence_class is LicenceClass.UNKNOWN


@pytest.mark.parametrize(
    ("stated", "governing"),
    [
        (("MIT", "AGPL-3.0"), "agpl-3.0-only"),
        (("MIT", None), "mit"),
        ((None, "MIT"), "mit"),
        ((None, " "), None),
        (("MIT", "mit"), "mit"),
        (("MIT", "Apache-2.0"), "apache-2.0 and mit"),
        (("MIT", "ask the author"), None),
        (("Proprietary", "ask the author"), "licenseref-scancode-proprietary-license"),
        (("MIT OR GPL-3.0", "CC-BY-4.0"), "cc-by-4.0"),
        ((), None),
    ],
)
def test_the_strictest_governs_whatever_the_order(stated, governing):
    for order in itertools.permutations(stated):
        assert Licence.strictest(*order).expression == governing


def test_deciding_twice_changes_nothing():
    assert (
        Licence.strictest(Licence.strictest("MIT", "Apache-2.0").expression, "MIT").expression == "apache-2.0 and mit"
    )


ALLOW = frozenset({"mit", "gpl-3.0-only", "gpl-2.0-only"})


@pytest.mark.parametrize(
    ("policy", "licence", "weights", "reason"),
    [
        (Policy(allow=ALLOW), "mit", True, None),
        (Policy(allow=ALLOW), "apache-2.0", False, Reason.LICENCE),
        (Policy(allow=ALLOW), "apache-2.0 or mit", True, None),
        (Policy(allow=ALLOW), "apache-2.0 and mit", False, Reason.LICENCE),
        (Policy(allow=ALLOW), "gpl-3.0-only and mit", True, None),
        (Policy(allow=ALLOW), "gpl-3.0-or-later", True, None),
        (Policy(allow=ALLOW), "gpl-2.0-only with classpath-exception-2.0", True, None),
        (Policy(allow=frozenset()), "mit", False, Reason.LICENCE),
        (Policy(allow=ALLOW, deny=frozenset({"mit"})), "mit", False, Reason.LICENCE),
        (Policy(allow=ALLOW, deny=frozenset({"mit"})), "gpl-3.0-only or mit", True, None),
        (Policy(allow=ALLOW, deny=frozenset({"mit"})), "gpl-3.0-only and mit", False, Reason.LICENCE),
        (Policy(), "mit", True, None),
        (Policy(), "cc-by-4.0", True, None),
        (Policy(), "agpl-3.0-only", False, Reason.LICENCE),
        (Policy(), "cc-by-nd-4.0", False, Reason.LICENCE),
        (Policy(deny=frozenset({"cc-by-4.0"})), "cc-by-4.0", False, Reason.LICENCE),
        (Policy(unknown=Unknown.PUBLISH), None, True, None),
        (Policy(unknown=Unknown.METADATA_ONLY), None, False, None),
        (Policy(unknown=Unknown.SKIP), None, False, Reason.LICENCE_UNKNOWN),
        (Policy(unknown=Unknown.SKIP, allow=ALLOW), "mit", True, None),
        (Policy(unknown=Unknown.PUBLISH, allow=ALLOW), "apache-2.0", False, Reason.LICENCE),
    ],
)
def test_what_a_manifest_lets_through(policy, licence, weights, reason):
    decision = policy.decide(Licence.parse(licence))
    assert (decision.weights, decision.reason) == (weights, reason)
    assert decision.skip is (reason is not None)
    assert bool(decision.detail) is decision.skip
