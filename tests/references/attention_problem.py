"""The attention problem one number at a time, in the paper's letters u, alpha, f, h, c."""

import math

import numpy as np


def u(x: np.ndarray, w: np.ndarray, row: int) -> list[float]:
    d, n = x.shape
    return [math.exp(sum(x[a, row] * w[a, b] * x[b, j] for a in range(d) for b in range(d))) for j in range(n)]


def alpha(x: np.ndarray, w: np.ndarray, row: int) -> float:
    return sum(u(x, w, row))


def f(x: np.ndarray, w: np.ndarray, row: int) -> list[float]:
    total = alpha(x, w, row)
    return [value / total for value in u(x, w, row)]


def h(x: np.ndarray, v: np.ndarray, column: int) -> list[float]:
    return [sum(x[a, j] * v[a, column] for a in range(x.shape[0])) for j in range(x.shape[1])]


def c(x: np.ndarray, w: np.ndarray, v: np.ndarray, b: np.ndarray, row: int, column: int) -> float:
    return sum(p * q for p, q in zip(f(x, w, row), h(x, v, column), strict=True)) - b[row, column]


def loss(x: np.ndarray, w: np.ndarray, v: np.ndarray, b: np.ndarray) -> float:
    return sum(c(x, w, v, b, i, j) ** 2 for i in range(b.shape[0]) for j in range(b.shape[1]))


def output_derivative(x: np.ndarray, w: np.ndarray, v: np.ndarray, row: int, token: int, entry: int) -> list[float]:
    """d <f_row, h_column> / d x[entry, token] for every column, by the paper's two cases."""
    d, n = x.shape
    p = f(x, w, row)
    slopes = []
    for j in range(n):
        slope = 0.0
        if token == row:
            slope += sum(w[entry, b] * x[b, j] for b in range(d))
        if token == j:
            slope += sum(x[a, row] * w[a, entry] for a in range(d))
        slopes.append(slope)
    mean = sum(q * s for q, s in zip(p, slopes, strict=True))
    out = []
    for column in range(v.shape[1]):
        values = h(x, v, column)
        moved = sum(q * (s - mean) * value for q, s, value in zip(p, slopes, values, strict=True))
        out.append(moved + p[token] * v[entry, column])
    return out


def gradient(x: np.ndarray, w: np.ndarray, v: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros_like(x)
    for token in range(x.shape[1]):
        for entry in range(x.shape[0]):
            for row in range(b.shape[0]):
                slopes = output_derivative(x, w, v, row, token, entry)
                out[entry, token] += sum(2 * c(x, w, v, b, row, j) * s for j, s in enumerate(slopes))
    return out
