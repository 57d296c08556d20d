"""Unambiguous spellings of licences, and the licence classes that SPDX lacks, for `licensing.licences`.

Sources: the trove classifiers of PyPI (those PEP 639 calls ambiguous, such as "BSD License", are left out on purpose),
the licence names of the Hugging Face Hub, and the first lines of the licences themselves.
"""

from __future__ import annotations

_OSI = "License :: OSI Approved :: "
_PROPRIETARY = "LicenseRef-scancode-proprietary-license"

_BY_LICENCE: dict[str, tuple[str, ...]] = {
    "Apache-2.0": (
        "Apache 2",
        "Apache 2.0",
        "Apache-2",
        "Apache License 2.0",
        "Apache License Version 2.0",
        "Apache License v2.0",
        "Apache Software License 2.0",
        "The Apache License Version 2.0",
        "Apache2.0",
        "Apache 2.0 License",
        "ASL 2.0",
    ),
    "MIT": (
        "MIT License",
        "The MIT License",
        "The MIT License (MIT)",
        "MIT License (MIT)",
        "MIT licence",
        "Expat",
        _OSI + "MIT License",
    ),
    "MIT-0": (_OSI + "MIT No Attribution License (MIT-0)",),
    "BSD-3-Clause": (
        "BSD 3-Clause",
        "BSD 3 Clause",
        "BSD-3",
        "3-Clause BSD",
        "3-Clause BSD License",
        "BSD 3-Clause License",
        'BSD 3-Clause "New" or "Revised" License',
        "New BSD License",
        "Modified BSD License",
    ),
    "BSD-2-Clause": (
        "BSD 2-Clause",
        "BSD 2 Clause",
        "BSD-2",
        "2-Clause BSD",
        "BSD 2-Clause License",
        "Simplified BSD License",
    ),
    "ISC": ("ISC License", _OSI + "ISC License (ISCL)"),
    "Unlicense": ("The Unlicense", _OSI + "The Unlicense (Unlicense)"),
    "CC0-1.0": (
        "CC0",
        "CC0 1.0",
        "CC0 1.0 Universal",
        "License :: CC0 1.0 Universal (CC0 1.0) Public Domain Dedication",
    ),
    "MPL-2.0": ("MPL 2.0", "Mozilla Public License 2.0", _OSI + "Mozilla Public License 2.0 (MPL 2.0)"),
    "GPL-2.0-only": ("GPLv2", "GPL v2", "GNU GPLv2", _OSI + "GNU General Public License v2 (GPLv2)"),
    "GPL-2.0-or-later": ("GPLv2+", _OSI + "GNU General Public License v2 or later (GPLv2+)"),
    "GPL-3.0-only": (
        "GPLv3",
        "GPL v3",
        "GPL 3.0",
        "GNU GPLv3",
        "GNU General Public License v3.0",
        _OSI + "GNU General Public License v3 (GPLv3)",
    ),
    "GPL-3.0-or-later": ("GPLv3+", _OSI + "GNU General Public License v3 or later (GPLv3+)"),
    "LGPL-3.0-only": ("LGPLv3", "LGPL v3", _OSI + "GNU Lesser General Public License v3 (LGPLv3)"),
    "LGPL-3.0-or-later": ("LGPLv3+", _OSI + "GNU Lesser General Public License v3 or later (LGPLv3+)"),
    "AGPL-3.0-only": (
        "AGPLv3",
        "AGPL v3",
        "AGPL 3.0",
        "AGPL-3.0 License",
        "AGPL-3.0 https://ultralytics.com/license",
        "AGPL-3.0 License (https://ultralytics.com/license)",
        "AGPL-3.0 License - https://ultralytics.com/license",
        "GNU Affero General Public License v3.0",
        _OSI + "GNU Affero General Public License v3",
    ),
    "AGPL-3.0-or-later": ("AGPLv3+", _OSI + "GNU Affero General Public License v3 or later (AGPLv3+)"),
    "CC-BY-4.0": ("CC BY 4.0", "Creative Commons Attribution 4.0", "Creative Commons Attribution 4.0 International"),
    "CC-BY-3.0": ("CC BY 3.0",),
    "CC-BY-SA-4.0": ("CC BY-SA 4.0", "Creative Commons Attribution-ShareAlike 4.0 International"),
    "CC-BY-SA-3.0": ("CC BY-SA 3.0",),
    "CC-BY-NC-4.0": ("CC BY-NC 4.0", "Creative Commons Attribution-NonCommercial 4.0 International"),
    "CC-BY-NC-SA-4.0": (
        "CC BY-NC-SA 4.0",
        "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International",
    ),
    "CC-BY-ND-4.0": ("CC BY-ND 4.0",),
    "CC-BY-NC-ND-4.0": ("CC BY-NC-ND 4.0",),
    "LicenseRef-scancode-bigscience-open-rail-m": ("bigscience-openrail-m",),
    "LicenseRef-scancode-bigcode-open-rail-m-v1": ("bigcode-openrail-m",),
    "LicenseRef-scancode-llama-2-license-2023": ("llama2",),
    "LicenseRef-scancode-llama-3.1-license-2024": ("llama3.1",),
    "LicenseRef-scancode-llama-3.2-license-2024": ("llama3.2",),
    "LicenseRef-scancode-llama-3.3-license-2024": ("llama3.3",),
    _PROPRIETARY: ("Proprietary", "Proprietary License", "All rights reserved", "License :: Other/Proprietary License"),
}

SPELLINGS = {
    " ".join(spelling.replace(",", " ").split()).casefold(): licence
    for licence, spellings in _BY_LICENCE.items()
    for spelling in spellings
}
"""Text, case-folded, blanks and commas collapsed -> SPDX identifier."""

CLASSES = (
    (r"cc-by(-nc)?-nd-.*", "no-redistribution"),
    (r"cc-by-nc-.*", "non-commercial"),
    (r"cc-by-sa-.*", "share-alike"),
    (r"cc-by-\d.*", "attribution"),
    (r"odc-by-1\.0", "attribution"),
    (r"polyform-noncommercial-1\.0\.0", "non-commercial"),
    (r"licenseref-scancode-big(code|science)-(open-)?rail-.*", "share-alike"),
    (r"licenseref-scancode-llama-.*", "share-alike"),
    (r"bsd-3-clause-no-(nuclear|military)-.*", "permissive"),
)
"""Regular expression of a lower-case identifier -> class; the first match counts, others follow ScanCode's category.

Filters extracted from a checkpoint are a derivative of it, so no-derivatives means no redistribution here.
"""
