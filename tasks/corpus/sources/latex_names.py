"""Names whose meaning readers of LaTeX know: commands, environments, and common packages."""

from __future__ import annotations

import re

_COMMANDS = """
    part chapter section subsection subsubsection paragraph subparagraph appendix title author date
    thanks maketitle abstract keywords address affiliation email institute and tableofcontents
    caption label ref pageref eqref cref Cref autoref cite citep citet citeauthor citeyear nocite
    footnote footnotemark footnotetext bibitem bibliography bibliographystyle newblock item
    text textbf textit textrm textsf texttt textsc textup textsl textmd textnormal emph underline
    mathrm mathbf mathit mathcal mathsf mathtt mathbb mathfrak mathscr mathnormal mathop mathbin
    mathrel mathord mathopen mathclose mathpunct mathinner boldsymbol bm ensuremath operatorname
    bf it rm sf tt sc sl em cal mit frak Bbb bfseries itshape rmfamily sffamily ttfamily scshape
    slshape upshape mdseries normalfont tiny scriptsize footnotesize small normalsize large Large
    LARGE huge Huge frac dfrac tfrac cfrac binom dbinom tbinom genfrac sqrt root over atop choose
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm Bigm
    dots ldots cdots vdots ddots dotsc dotsb dotsm dotsi hat bar vec tilde dot ddot acute grave
    breve check widehat widetilde overline overrightarrow overleftarrow overbrace underbrace
    underset overset stackrel substack limits nolimits mbox hbox fbox makebox framebox parbox
    quad qquad hspace vspace hfill smallskip medskip bigskip noindent indent par newline linebreak
    pagebreak hline cline multicolumn multirow centering raggedright raggedleft includegraphics
    graphicspath url href verb LaTeX TeX LaTeXe BibTeX today qed qedhere qedsymbol mod bmod pmod pod
    arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf
    limsup ln log max min Pr sec sin sinh sup tan tanh injlim projlim varinjlim varprojlim
    int iint iiint oint sum prod coprod bigcup bigcap bigoplus bigotimes le leq ge geq ne neq lt gt
    to gets iff implies impliedby colon tag notag nonumber intertext textcolor color
"""
_ENVIRONMENTS = """
    document abstract quote quotation verse center flushleft flushright itemize enumerate
    description list trivlist figure table tabular tabularx longtable array equation eqnarray align
    alignat aligned alignedat gather gathered multline flalign split cases subequations math
    displaymath matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix minipage picture verbatim
    alltt lstlisting tabbing titlepage thebibliography theindex sloppypar letter appendix appendices
    proof theorem lemma corollary proposition definition remark example conjecture claim case
    acknowledgments acknowledgements acknowledgment acknowledgement keywords algorithm algorithmic
    frame wrapfigure landscape multicols comment
"""
KNOWN_NAMES = frozenset(
    (
        *_COMMANDS.split(),
        *(f"{{{name}{star}}}" for name in _ENVIRONMENTS.split() for star in ("", "*")),
    )
)

# By the names of their files, without endings, in small letters.
COMMON_PACKAGES = re.compile(
    r"ams(?:art|book|proc|math|fonts|symb|thm|text|opn|bsy|cd|gen|latex|refs|tex|ppt)[\w.-]*"
    r"|article|report|book|letter|size1[012]|latexsym|makeidx|inputenc|fontenc|babel|graphic[\w.-]*"
    r"|color|xcolor|epsf[\w.-]*|psfig|psfrag|pst-?[\w.-]*|tikz[\w.-]*|pgf[\w.-]*|xy[\w.-]*|rotat[\w.-]*|float|caption\d?"
    r"|subfig[\w.-]*|subcaption|wrapfig|hyperref|url|natbib|cite[\w.-]*|biblatex|bibunits|chapterbib"
    r"|revtex[\w.-]*|aps[\w.-]*|aip[\w.-]*|prl|iopart[\w.-]*|iop[\w.-]*|elsart[\w.-]*|elsarticle|ieeetran[\w.-]*|ieee[\w.-]*"
    r"|acmart|acm[\w.-]*|sig-?alternate[\w.-]*|llncs|svjour[\w.-]*|svmult|svmono|springer[\w.-]*|sn-jnl|aastex[\w.-]*"
    r"|emulateapj[\w.-]*|aas[\w.-]*|mn2e|mnras|aa|pasj[\w.-]*|jcappub|jheppub|jhep[\w.-]*|pos|siam[\w.-]*|imsart"
    r"|neurips[\w.-]*|nips[\w.-]*|icml[\w.-]*|iclr[\w.-]*|cvpr[\w.-]*|iccv[\w.-]*|eccv[\w.-]*|aaai[\w.-]*|ijcai[\w.-]*|acl[\w.-]*|emnlp[\w.-]*"
    r"|naacl[\w.-]*|coling[\w.-]*|interspeech[\w.-]*|spconf|wacv[\w.-]*|bmvc[\w.-]*|jmlr[\w.-]*|pnas[\w.-]*|wlscirep|mdpi"
    r"|frontiers[\w.-]*|times|mathptmx?|helvet|courier|palatino|txfonts|pxfonts|newtx[\w.-]*|lmodern"
    r"|fancyhdr|fancyheadings|fullpage|geometry|setspace|titlesec|enumitem|enumerate|mathtools"
    r"|mathrsfs|eucal|eufrak|bbm|bbold|dsfont|stmaryrd|bm|siunitx|physics|braket|slashed|feyn[\w.-]*"
    r"|axodraw[\w.-]*|algorithm[\w.-]*|algpseudocode[\w.-]*|listings|minted|verbatim|comment|multirow|multicol"
    r"|booktabs|array|tabularx|longtable|dcolumn|lineno|todonotes|xspace|ifthen|calc|etoolbox"
    r"|microtype|cleveref|thmtools|ntheorem|a4[\w.-]*|cmp|amscd|diagrams|prooftree|proof|mathpartir"
)
