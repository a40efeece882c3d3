"""The licences that the funnel names: no other words of a file or a package get into its reasons.

SPDX's identifiers of licences that software is found under, the names that
:mod:`tasks.corpus.sources.license_texts` gives, and what package indexes call some of them.
"""

from __future__ import annotations

import re

from tasks.corpus.sources.license_texts import NAMES, RESTRICTED, RIDERS

_SPDX = (
    "0BSD", "AAL", "AFL-1.1", "AFL-1.2", "AFL-2.0", "AFL-2.1", "AFL-3.0", "AGPL-1.0",
    "AGPL-1.0-only", "AGPL-1.0-or-later", "AGPL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later",
    "Aladdin", "ANTLR-PD", "Apache", "Apache-1.0", "Apache-1.1", "Apache-2.0", "APSL-1.0",
    "APSL-1.1", "APSL-1.2", "APSL-2.0", "Artistic-1.0", "Artistic-1.0-cl8", "Artistic-1.0-Perl",
    "Artistic-2.0", "Beerware", "BitTorrent-1.0", "BitTorrent-1.1", "blessing", "BlueOak-1.0.0",
    "BSD", "BSD-1-Clause", "BSD-2-Clause", "BSD-2-Clause-Patent", "BSD-2-Clause-Views",
    "BSD-3-Clause", "BSD-3-Clause-Attribution", "BSD-3-Clause-Clear", "BSD-3-Clause-LBNL",
    "BSD-3-Clause-Modification", "BSD-3-Clause-No-Nuclear-License", "BSD-3-Clause-Open-MPI",
    "BSD-4-Clause", "BSD-4-Clause-UC", "BSD-Protection", "BSD-Source-Code", "BSL-1.0", "BUSL-1.1",
    "bzip2-1.0.6", "C-UDA-1.0", "CAL-1.0", "CATOSL-1.1", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-2.5",
    "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-1.0", "CC-BY-NC-2.0", "CC-BY-NC-2.5", "CC-BY-NC-3.0",
    "CC-BY-NC-4.0", "CC-BY-NC-ND-2.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0",
    "CC-BY-NC-SA-2.5", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-2.0", "CC-BY-ND-3.0",
    "CC-BY-ND-4.0", "CC-BY-SA-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0",
    "CC-PDDC", "CC0-1.0", "CDDL-1.0", "CDDL-1.1", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0", "CECILL-1.0", "CECILL-1.1", "CECILL-2.0", "CECILL-2.1", "CECILL-B",
    "CECILL-C", "CERN-OHL-1.1", "CERN-OHL-1.2", "CERN-OHL-P-2.0", "CERN-OHL-S-2.0",
    "CERN-OHL-W-2.0", "ClArtistic", "CNRI-Jython", "CNRI-Python", "CNRI-Python-GPL-Compatible",
    "Condor-1.1", "CPAL-1.0", "CPL-1.0", "CPOL-1.02", "CUA-OPL-1.0", "curl", "DOC", "ECL-1.0",
    "ECL-2.0", "EFL-1.0", "EFL-2.0", "Elastic-2.0", "Entessa", "EPL-1.0", "EPL-2.0", "ErlPL-1.1",
    "etalab-2.0", "EUDatagrid", "EUPL-1.0", "EUPL-1.1", "EUPL-1.2", "Fair", "Frameworx-1.0",
    "FreeImage", "FSFAP", "FTL", "GFDL-1.1", "GFDL-1.2", "GFDL-1.3", "GFDL-1.1-only",
    "GFDL-1.1-or-later", "GFDL-1.2-only", "GFDL-1.2-or-later", "GFDL-1.3-only",
    "GFDL-1.3-or-later", "GPL-1.0", "GPL-1.0-only", "GPL-1.0-or-later", "GPL-2.0", "GPL-2.0-only",
    "GPL-2.0-or-later", "GPL-3.0", "GPL-3.0-only", "GPL-3.0-or-later", "gSOAP-1.3b", "HPND",
    "HPND-sell-variant", "ICU", "IJG", "Imlib2", "Intel", "Intel-ACPI", "IPA", "IPL-1.0", "ISC",
    "JasPer-2.0", "JSON", "LAL-1.2", "LAL-1.3", "Leptonica", "LGPL-2.0", "LGPL-2.0-only",
    "LGPL-2.0-or-later", "LGPL-2.1", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0",
    "LGPL-3.0-only", "LGPL-3.0-or-later", "LGPLLR", "Libpng", "libpng-2.0", "libtiff",
    "LiLiQ-P-1.1", "LiLiQ-R-1.1", "LiLiQ-Rplus-1.1", "Linux-OpenIB", "LPL-1.0", "LPL-1.02",
    "LPPL-1.0", "LPPL-1.1", "LPPL-1.2", "LPPL-1.3a", "LPPL-1.3c", "MirOS", "MIT", "MIT-0",
    "MIT-advertising", "MIT-CMU", "MIT-enna", "MIT-feh", "MIT-Modern-Variant", "MITNFA",
    "Motosoto", "MPL-1.0", "MPL-1.1", "MPL-2.0", "MPL-2.0-no-copyleft-exception", "MS-LPL",
    "MS-PL", "MS-RL", "MulanPSL-1.0", "MulanPSL-2.0", "Multics", "NAIST-2003", "NASA-1.3",
    "Naumen", "NCSA", "NGPL", "NLOD-1.0", "NLOD-2.0", "Nokia", "NOSL", "NPL-1.0", "NPL-1.1",
    "NPOSL-3.0", "NTP", "O-UDA-1.0", "OCLC-2.0", "ODbL-1.0", "ODC-By-1.0", "OFL-1.0", "OFL-1.1",
    "OGL-UK-1.0", "OGL-UK-2.0", "OGL-UK-3.0", "OGTSL", "OLDAP-2.8", "OpenSSL", "OSET-PL-2.1",
    "OSL-1.0", "OSL-1.1", "OSL-2.0", "OSL-2.1", "OSL-3.0", "Parity-6.0.0", "Parity-7.0.0",
    "PDDL-1.0", "PHP-3.0", "PHP-3.01", "PolyForm-Noncommercial-1.0.0",
    "PolyForm-Small-Business-1.0.0", "PostgreSQL", "PSF-2.0", "Python-2.0", "Python-2.0.1",
    "QPL-1.0", "RHeCos-1.1", "RPL-1.1", "RPL-1.5", "RPSL-1.0", "RSCPL", "Ruby", "Sendmail",
    "SGI-B-1.0", "SGI-B-1.1", "SGI-B-2.0", "SimPL-2.0", "SISSL", "Sleepycat", "SMLNJ", "SPL-1.0",
    "SSPL-1.0", "TCL", "TCP-wrappers", "TORQUE-1.1", "UCL-1.0", "Unicode-3.0", "Unicode-DFS-2015",
    "Unicode-DFS-2016", "Unlicense", "UPL-1.0", "Vim", "VSL-1.0", "W3C", "W3C-19980720",
    "W3C-20150513", "Watcom-1.0", "WTFPL", "X11", "Xerox", "XFree86-1.1", "Xnet", "YPL-1.0",
    "YPL-1.1", "Zed", "Zend-2.0", "Zimbra-1.3", "Zimbra-1.4", "Zlib", "zlib-acknowledgement",
    "ZPL-1.1", "ZPL-2.0", "ZPL-2.1",
)  # fmt: skip
# The classifiers of the package index, and short names in the same fields; spaces and brackets
# are hyphens there.
_CALLED = {
    "academic free license afl": "AFL-3.0", "artistic license": "Artistic", "artistic": "Artistic",
    "boost software license 1.0 bsl-1.0": "BSL-1.0",
    "cc0 1.0 universal cc0 1.0 public domain dedication": "CC0-1.0",
    "common development and distribution license 1.0 cddl-1.0": "CDDL-1.0",
    "eclipse public license 1.0 epl-1.0": "EPL-1.0",
    "eclipse public license 2.0 epl-2.0": "EPL-2.0",
    "european union public licence 1.1 eupl 1.1": "EUPL-1.1",
    "european union public licence 1.2 eupl 1.2": "EUPL-1.2",
    "gnu affero general public license v3": "AGPL-3.0",
    "gnu affero general public license v3 or later agplv3+": "AGPL-3.0-or-later",
    "gnu free documentation license fdl": "GFDL",
    "gnu general public license gpl": "GPL", "gplv2": "GPL-2.0", "gplv3": "GPL-3.0",
    "gnu general public license v2 gplv2": "GPL-2.0",
    "gnu general public license v2 or later gplv2+": "GPL-2.0-or-later",
    "gnu general public license v3 gplv3": "GPL-3.0",
    "gnu general public license v3 or later gplv3+": "GPL-3.0-or-later",
    "gnu lesser general public license v2 lgplv2": "LGPL-2.0",
    "gnu lesser general public license v2 or later lgplv2+": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 lgplv3": "LGPL-3.0",
    "gnu lesser general public license v3 or later lgplv3+": "LGPL-3.0-or-later",
    "gnu library or lesser general public license lgpl": "LGPL", "lgplv3": "LGPL-3.0",
    "isc license iscl": "ISC", "mozilla public license 1.1 mpl 1.1": "MPL-1.1",
    "mozilla public license 2.0 mpl 2.0": "MPL-2.0", "other/proprietary license": "proprietary",
    "proprietary": "proprietary", "psfl": "PSF", "python software foundation license": "PSF",
    "public domain": "Public-Domain", "the unlicense unlicense": "Unlicense",
    "universal permissive license upl": "UPL-1.0", "zlib/libpng license": "Zlib",
    "zope public license": "ZPL",
}  # fmt: skip
_APART = re.compile(r"[\s()_-]+")


def _folded(name: str) -> str:
    return _APART.sub("-", name.lower()).strip("-")


_KNOWN = (
    {_folded(called): name for called, name in _CALLED.items()}
    | {_folded(name): name for name in (*NAMES, "Artistic", "GFDL", "ZPL", *_SPDX)}
    | {_folded(f"{RESTRICTED}{name}"): f"{RESTRICTED}{name}" for name in RIDERS}
)
_LONGEST = max(map(len, _KNOWN))


def recognised(name: str) -> str:
    """A licence's name as the funnel writes it, "" when it is none that is known.

    As SPDX spells it; in lower case where it is given so, as GitHub's own records do; with the "+"
    of a later version.
    """
    if len(name) > 2 * _LONGEST:
        return ""
    later = "+" if name.endswith("+") and _folded(name) not in _KNOWN else ""
    known = _KNOWN.get(_folded(name.removesuffix("+") if later else name), "")
    if not known:
        return ""
    return f"{known.lower() if name == known.lower() + later else known}{later}"
