"""The measures written a second time: plain float64 NumPy from docs/measures.md, slow and obvious."""

from __future__ import annotations

import math

import numpy as np

D = np.array([np.ones(3) / math.sqrt(3), np.array([1, 0, -1]) / math.sqrt(2), np.array([1, -2, 1]) / math.sqrt(6)])
BASIS = np.array([np.outer(D[u], D[v]).ravel() for u in range(3) for v in range(3)])


def finite_filters(weights):
    """float32 (out, in, *kernel) -> float32 (n_finite, k)."""
    rows = [w.ravel() for out in weights for w in out]
    return np.array([row for row in rows if np.isfinite(row).all()], np.float32).reshape(-1, weights[0, 0].size)


def scaled(filters):
    """Each filter divided by its largest absolute value, in float32; filters of zeros stay."""
    peaks = np.abs(filters).max(axis=1, initial=0)
    peaks[peaks == 0] = 1
    return filters / peaks[:, None]


def moments(filters):
    """Mean (k,) and scatter (k, k) in float64."""
    filters = filters.astype(np.float64)
    if not len(filters):
        return np.zeros(9), np.zeros((9, 9))
    mean = np.array([math.fsum(column) / len(filters) for column in filters.T])
    return mean, (filters - mean).T @ (filters - mean)


def coefficients(filters):
    """(n, 9) float64: the scaled filters in the DCT basis."""
    return scaled(filters).astype(np.float64) @ BASIS.T


def bins(values):
    """The bin of each coefficient, in exact integers."""
    snapped = [int(q) for q in np.rint(np.asarray(values, np.float64).ravel() * 2**18)]
    flat = [min(69, max(0, (q + 3 * 2**18) * 35 // (3 * 2**18))) for q in snapped]
    return np.array(flat, int).reshape(np.shape(values))


def entropy(m2, square_sum):
    """Variance entropy of a scatter matrix."""
    if np.trace(m2) <= 1e-24 * square_sum:
        return 0.0
    variances = np.linalg.svd(m2, compute_uv=False)
    return -sum(p * math.log10(p) for p in variances / variances.sum() if p > 0)


def threshold(n):
    return None if n < 3 else 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n) - 2.30436435))) - 0.31050834


def orthogonality(weights, groups):
    """Pair by pair."""
    out = len(weights)
    if not np.isfinite(weights).all():
        return None
    rows = weights.reshape(out, -1).astype(np.float64)
    cosines = []
    for a in range(out):
        for b in range(out):
            same_group = a // (out // groups) == b // (out // groups)
            if a != b and same_group and rows[a].any() and rows[b].any():
                cosines.append(abs(rows[a] @ rows[b]) / (np.linalg.norm(rows[a]) * np.linalg.norm(rows[b])))
    return 1 - sum(cosines) / len(cosines) if cosines else None


def measure(weights, groups=1):
    """The measures of one layer by name; `moments` and `coefficients` give the statistics."""
    filters = finite_filters(weights)
    n = len(filters)
    doubles = filters.astype(np.float64)
    limit = np.abs(doubles).max(initial=0) / 100
    sparse = n if limit == 0 else int((np.abs(doubles) < limit).all(axis=1).sum())
    result = {
        "n_finite": n,
        "nan_count": int(np.isnan(weights).sum()),
        "inf_count": int(np.isinf(weights).sum()),
        "l1_norm": math.fsum(np.abs(doubles).ravel()),
        "l2_norm": math.sqrt(math.fsum((doubles**2).ravel())),
        "sparse_count": sparse,
        "sparsity": sparse / n if n else None,
        "orthogonality": orthogonality(weights, groups),
    }
    if weights.shape[2:] == (3, 3):
        result["variance_entropy"] = None if n < 2 else entropy(moments(filters)[1], (doubles**2).sum())
        result["variance_entropy_threshold"] = threshold(n)
    return result
