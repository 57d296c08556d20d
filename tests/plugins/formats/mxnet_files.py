"""Writes good and hostile parameter files of MXNet, byte by byte, in every version of the layout."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from filterzoo.errors import Reason

FIRST, SECOND, THIRD = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6, "bool": 7}
WEIGHT = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype("f4")
BIAS = np.arange(4, dtype="f4")
UNKNOWN = struct.pack("<Iii", THIRD, 0, -1)
NOTHING = struct.pack("<Iii", SECOND, 0, 0)


def sides(shape: Sequence[int], version: int | None = SECOND) -> bytes:
    """A rank and its sides, as the version has them."""
    return struct.pack(f"<i{len(shape)}{'I' if version is None else 'q'}", len(shape), *shape)


def dense(array: np.ndarray = WEIGHT, version: int | None = SECOND, **lies: Any) -> bytes:
    """One array. version: None for that of 2015. lies: shape, type or storage that it is said to have."""
    head = b"" if version is None else struct.pack("<I", version)
    if version in {SECOND, THIRD}:
        head += struct.pack("<i", lies.get("storage", 0))
    shape = sides(lies.get("shape", array.shape), version)
    return head + shape + struct.pack("<iii", 1, 0, lies.get("type", TYPES[str(array.dtype)])) + array.tobytes()


def row_sparse(values: np.ndarray, rows: Sequence[int], shape: Sequence[int]) -> bytes:
    head = struct.pack("<Ii", SECOND, 1) + sides(values.shape) + sides(shape) + struct.pack("<iii", 1, 0, 0)
    return head + struct.pack("<i", 6) + sides([len(rows)]) + values.tobytes() + np.array(rows, "<i8").tobytes()


def names_bytes(names: Sequence[bytes]) -> bytes:
    return struct.pack("<Q", len(names)) + b"".join(struct.pack("<Q", len(name)) + name for name in names)


def params(arrays: Mapping[str, bytes] | Sequence[bytes], **lies: Any) -> bytes:
    """A list of arrays, with names if it is a mapping. lies: the number of arrays, the names, what stands behind."""
    names = [name.encode() for name in arrays] if isinstance(arrays, Mapping) else []
    bodies = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    head = struct.pack("<QQQ", 0x112, 0, lies.get("count", len(bodies)))
    return head + b"".join(bodies) + lies.get("names", names_bytes(names)) + lies.get("behind", b"")


GOOD = params({"arg:conv0_weight": dense(), "arg:conv0_bias": dense(BIAS)})
LONG = params({f"conv{number}_weight": dense() for number in range(300)})

HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "nothing behind the magic": (GOOD[:16], Reason.MALFORMED),
    "2^63 arrays": (params({"w": dense()}, count=1 << 63), Reason.MALFORMED),
    "one array too many": (params({"w": dense()}, count=2), Reason.MALFORMED),
    "one array too few": (params({"w": dense(), "v": dense()}, count=1), Reason.MALFORMED),
    "more arrays than are read": (
        params([], count=1_000_001, behind=bytes(4_000_100)),
        Reason.LIMIT,
    ),
    "cut in an array": (GOOD[:200], Reason.MALFORMED),
    "cut before the names": (params({"w": dense()}, names=b""), Reason.MALFORMED),
    "cut in a name": (GOOD[:-1], Reason.MALFORMED),
    "bytes behind the names": (params({"w": dense()}, behind=b"PK\3\4"), Reason.MALFORMED),
    "a name for two arrays": (params([dense(), dense()], names=names_bytes([b"w"])), Reason.MALFORMED),
    "two names for an array": (params([dense()], names=names_bytes([b"w", b"v"])), Reason.MALFORMED),
    "two arrays of one name": (params([dense(), dense()], names=names_bytes([b"w", b"w"])), Reason.MALFORMED),
    "2^62 names": (params([dense()], names=struct.pack("<Q", 1 << 62)), Reason.MALFORMED),
    "a name of 2^62 bytes": (params([dense()], names=struct.pack("<QQ", 1, 1 << 62)), Reason.LIMIT),
    "a name of 100,000 bytes": (params({"w" * 100_000: dense()}), Reason.LIMIT),
    "a name that is no text": (params([dense()], names=names_bytes([b"\xff\xfe"])), Reason.MALFORMED),
    "a rank of -2": (params([struct.pack("<Iii", SECOND, 0, -2)]), Reason.MALFORMED),
    "an unknown rank where ranks are known": (params([struct.pack("<Iii", SECOND, 0, -1)]), Reason.MALFORMED),
    "65 axes": (params([dense(shape=[1] * 65)]), Reason.LIMIT),
    "2^31 - 1 axes": (params([struct.pack("<Iii", SECOND, 0, (1 << 31) - 1)]), Reason.LIMIT),
    "2^32 - 1 axes in the layout of 2015": (params([b"\xff" * 4 + bytes(64)]), Reason.LIMIT),
    "a side of -3": (params([dense(shape=(4, -3, 3, 3))]), Reason.MALFORMED),
    "a side of -3 in shapes as NumPy has them": (params([dense(version=THIRD, shape=(4, -3, 3, 3))]), Reason.MALFORMED),
    "sides that multiply past 2^64": (params([dense(shape=[1 << 62] * 4)]), Reason.MALFORMED),
    "a shape of more numbers": (params([dense(shape=(40, 3, 3, 3))]), Reason.MALFORMED),
    "a shape of fewer numbers": (params([dense(shape=(2, 3, 3, 3))]), Reason.MALFORMED),
    "a type that nobody knows": (params([dense(type=77)]), Reason.MALFORMED),
    "a type of -1": (params([dense(type=-1)]), Reason.MALFORMED),
    "storage that nobody knows": (params([dense(storage=9)]), Reason.MALFORMED),
    "sparse numbers past the end": (
        params([row_sparse(np.ones((2, 3), "f4"), [1, 4], (6, 3))[:-60]], names=b""),
        Reason.MALFORMED,
    ),
}
"""What is wrong -> (the file, why it is refused)."""

WRITTEN_BY_MXNET = zlib.decompress(
    base64.b85decode(
        "c-qyMU1(Ex7{*^??T4*4)_&V+)T*skn|@ept@c=3?RQU-bB<a+n%Zx5TC}1UyZAH4kTFKt#*i^a7-Ps7ql__RjByxaxG_c<W9%}QyX@t"
        "*t39tibuqRudbiMDe|_^$a?+eU&p#<xC(m6r(m(wD_Fw7@qL=lnIPD>DG41$e;RhIy06s_pIVlnZArJ-@ut6Nm0t4=YdGG)vz(cSA9sw"
        "Ub28-Z#kOY5#CGaPZ4m@L!4e~$`6oOJv0Yab(RD)U&22G#^v;hlrf^N_cY~X-%;39~FaWD<8gIO>K?tzzq0k42p!E4|?cpba}-URdDE$"
        "|L_7d!y(f%m}&AOSuEAAyg-L+}as6nq92z~|r#@FjQzz5-u^Z-5WJ1>b@1!DH|v_zC<B7QrvzSMXcMTF&!}=X<H0e^^hIO$X^hx|FV<L"
        "-a1Xir!0C)BEXK`Vbwa>*)r%k#3?7)6Mh|x`jSUx6;SxHu^Yyf^Mg+r#7^l<V;HkXIf5irlpfJEnS>xIn9}tGn{GZ=1fZuXIgqW)6&P8"
        "mVVB(3~;7pkTWeqoN2M2+M*5Z(-Pr2ZD^mCDA#F2`?SQkP8-^%#o;<_XrC6B>$IVLT0E}PhW2SW%XQk&J}u|CP8-^%<viDEL;JK0bDcJ"
        "{KWwcfmjS+Mk-`q?lrA|fXQbP7OONT1UehamrVppQ-}L+aIMoAYz#qUV9yEjgAWrR&8S;n34%wC+w~d{!eLHDOBowhC@ra2eB7P(pk!U"
        "DtMdMKuO+@`@GAgl9%!<WhCYFf#v1Ck~pc8V!j^)@++?jQZGw&pv1;=+5ousqmh#Pc6ZrHV4+l{-ku5stxguCGS?xLG?mt66JUdRi3mS"
        "=l$Z`L#3yqEA6ytTX@Pv&)j^%)y7v$AtG=H_kMoFCj$u(hzLxTLhKd|O53_8p;}yLMOY*}Jd0X8(cOgNN$E^$m?phntVI9Bn<;cKk%Ub"
        "+Y4BXV>X7-95d1{R4wTb|e~eT<`3;^TQV|Ub;LIAH6a*J~25pJ#+QiTApJ@${gUjUbg{cf-G%Qki)$>7vzCWU^B?qmIYft0obZ-3yMH7"
        "DACphWuP2v)Aj|GU_02MEev*Q3xnO-!eEcKFxaOp3~IE6!2xYya8O$q)M*QA18e(g^J?pA<7(S#(`w6V!)m)~vp#u)qEWR?wMn^YaO0L"
        "!+KSqQ+J4%2+H%@#+Gg5d+FIIF+D_U?+Cthi+9ui<+6tO{O}8dkQ>sbSw1ErYBDe%DgAou1qu>e{1LI%<OoAye4Q9YqaBYpBjW+xb-iw"
        "(jJ9=8DJiBd1>i?5+pDa3?&Pn?`nM>!<o9NASJ{_dD&;|5Xx{xlSi|G=&lrE#o>1}icT}f}JchDhvC%uc_O;^!-=)Lqlx|*(`_tOXHTK"
        "XV;h_0i<bUocbH_}b?VY-<<LbuRI=~nufEN>3{L_?pT(>}mG$)hln!dwcoDa@xZqr#jDvntH1Ftftk3bQNBuQ0>H91F87%(F1l!dwfpE"
        "zGwt<HDQ^vo6fLF!RFP3$riGzpw*@Js|7?VIK%PLD&nzZV>i^up@*$A?ylaUkE!x*c++etJbA;|7zc#^!CepLwXhiDfwIJyI5w*zVh$m"
        "zDW9Bq{j^KzNyCw{D)($UuAy&JK+lZ^a`&-Agx1|yI}OzRO{sRo1=4$4I_6aW~Qd+URY^vT5YAinJdARl{+&x=2}*`9#=m*M*j2HuX6K"
        "e2VO41(L48AUz!-bvHarRx_S5Z@;^Lw`_@10(WJx"
    )
)
"""`golden.params` of the script below, run once with MXNet 1.9.1, whose last release no present NumPy imports:

    a = {f"arg:{t}_weight": mx.nd.arange(108, dtype=t).reshape((4, 3, 3, 3))
         for t in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")}
    a["aux:mean"] = mx.nd.arange(4)
    a["rows"] = mx.nd.sparse.row_sparse_array((np.ones((2, 3), "f4"), [1, 4]), shape=(6, 3))
    a["csr"] = mx.nd.sparse.csr_matrix(np.array([[0, 1, 0], [2, 0, 3]], "f4"))
    mx.nd.save("golden.params", a)
"""
