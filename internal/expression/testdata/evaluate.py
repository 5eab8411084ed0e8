"""Evaluates expressions by their definitions: python evaluate.py CASES OUT

CASES is JSON: panels of bars (a list of symbols, each with the session of every bar and
its fields) and the expressions of each, spelled as calls. OUT becomes float64s: for each
expression the values by session and symbol, computed by pandas, and after these the same
computed by numpy in extended precision. A cell without a value is NaN.

Nothing is shared with the program that is judged, and nothing is fast: a session is a row
of a table of all symbols, and every window is a slice of it.
"""
import json, math, multiprocessing, re, sys, warnings

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
LIMIT = 1e100


class Value:
    """A table of values, and how many sessions before its own one reads."""

    def __init__(self, table, lookback):
        self.table, self.lookback = table, lookback


class Plain:
    """By numpy, a window at a time."""

    dtype = np.longdouble

    def __init__(self, panel):
        self.sectors = [s["sector"] for s in panel]
        self.first = min(s["session"][0] for s in panel)
        self.rows = max(s["session"][-1] for s in panel) - self.first + 1
        self.fields, self.bar = {}, np.zeros((self.rows, len(panel)), bool)
        for field in ["open", "high", "low", "close", "volume"]:
            table = np.full((self.rows, len(panel)), np.nan)
            for k, s in enumerate(panel):
                at = np.array(s["session"]) - self.first
                table[at, k] = [math.nan if x is None else x for x in s[field]]
                self.bar[at, k] = True
            self.fields[field] = table.astype(self.dtype)
        self.fields["vwap"] = (
            (self.fields["high"].astype(float) + self.fields["low"].astype(float) + self.fields["close"].astype(float)) / 3
        ).astype(self.dtype)
        self.born = np.array([s["session"][0] - self.first for s in panel])

    def evaluate(self, text):
        names = {name: getattr(self, name) for name in dir(self) if name[0].isupper()}
        names |= {"field": lambda f: Value(self.fields[f], 0), "sector": "sector"}
        v = eval(re.sub(r"\$(\w+)", r'field("\1")', text), {"__builtins__": {}}, names)
        return v.table.astype(float)

    # What every function does with its result: no value without a bar, in the warm-up,
    # or of what is no number.
    def value(self, table, lookback):
        table = np.array(table, self.dtype)
        table[~self.bar] = np.nan
        table[np.arange(self.rows)[:, None] < self.born + lookback] = np.nan
        table[~(np.abs(table) < LIMIT)] = np.nan
        return Value(table, lookback)

    def cells(self, compute, *values):
        tables = [v.table if isinstance(v, Value) else np.full(self.bar.shape, v, self.dtype) for v in values]
        back = max((v.lookback for v in values if isinstance(v, Value)), default=0)
        r = np.array(compute(*tables), self.dtype)
        r[np.any([np.isnan(t) for t in tables], axis=0)] = np.nan
        return self.value(r, back)

    def Add(self, x, y): return self.cells(lambda a, b: a + b, x, y)
    def Sub(self, x, y): return self.cells(lambda a, b: a - b, x, y)
    def Mul(self, x, y): return self.cells(lambda a, b: a * b, x, y)
    def Div(self, x, y): return self.cells(lambda a, b: a / b, x, y)
    def Power(self, x, y): return self.cells(lambda a, b: a ** b, x, y)
    def Abs(self, x): return self.cells(np.abs, x)
    def Sign(self, x): return self.cells(np.sign, x)
    def Log(self, x): return self.cells(np.log, x)
    def Greater(self, x, y): return self.cells(np.maximum, x, y)
    def Less(self, x, y): return self.cells(np.minimum, x, y)
    def Gt(self, x, y): return self.cells(lambda a, b: a > b, x, y)
    def Ge(self, x, y): return self.cells(lambda a, b: a >= b, x, y)
    def Lt(self, x, y): return self.cells(lambda a, b: a < b, x, y)
    def Le(self, x, y): return self.cells(lambda a, b: a <= b, x, y)
    def Eq(self, x, y): return self.cells(lambda a, b: a == b, x, y)
    def Ne(self, x, y): return self.cells(lambda a, b: a != b, x, y)
    def And(self, x, y): return self.cells(lambda a, b: (a != 0) & (b != 0), x, y)
    def Or(self, x, y): return self.cells(lambda a, b: (a != 0) | (b != 0), x, y)
    def Not(self, x): return self.cells(lambda a: 1 - a, x)

    def If(self, condition, x, y):
        c, back = condition.table, max(v.lookback for v in (condition, x, y) if isinstance(v, Value))
        x, y = (v.table if isinstance(v, Value) else np.full(self.bar.shape, v, self.dtype) for v in (x, y))
        return self.value(np.where(np.isnan(c), np.nan, np.where(c != 0, x, y)), back)

    def Ref(self, x, n):
        table = np.full_like(x.table, np.nan)
        table[n:] = x.table[: self.rows - n]
        return self.value(table, x.lookback + n)

    def Delta(self, x, n):
        return self.cells(lambda a, b: a - b, x, self.Ref(x, n))

    # A window of n sessions of one symbol is told to compute as the columns' values and
    # the places, from 1, of the sessions that have all of them.
    def windows(self, compute, n, need, *values, newest=False):
        table = np.full(self.bar.shape, np.nan, self.dtype)
        for k in range(self.bar.shape[1]):
            columns = [v.table[:, k] for v in values]
            have = ~np.any([np.isnan(c) for c in columns], axis=0)
            for t in range(n - 1, self.rows):
                if not self.bar[t, k] or newest and not have[t]:
                    continue
                at = np.flatnonzero(have[t - n + 1: t + 1])
                if len(at) >= need:
                    table[t, k] = compute(*[c[t - n + 1: t + 1][at] for c in columns], at + 1)
        return self.value(table, max(v.lookback for v in values) + n - 1)

    def rolling(self, compute, x, n, **more):
        return self.windows(compute, n, math.ceil(n * 4 / 5), x, **more)

    def Mean(self, x, n): return self.rolling(lambda v, i: v.mean(), x, n)
    def Sum(self, x, n): return self.rolling(lambda v, i: v.sum(), x, n)
    def Var(self, x, n): return self.rolling(lambda v, i: variance(v), x, n)
    def Std(self, x, n): return self.rolling(lambda v, i: np.sqrt(variance(v)), x, n)
    def Skew(self, x, n): return self.rolling(lambda v, i: skewness(v), x, n)
    def Kurt(self, x, n): return self.rolling(lambda v, i: kurtosis(v), x, n)
    def Max(self, x, n): return self.rolling(lambda v, i: v.max(), x, n)
    def Min(self, x, n): return self.rolling(lambda v, i: v.min(), x, n)
    def IdxMax(self, x, n): return self.rolling(lambda v, i: i[v.argmax()], x, n)
    def IdxMin(self, x, n): return self.rolling(lambda v, i: i[v.argmin()], x, n)
    def Med(self, x, n): return self.rolling(lambda v, i: quantile(v, 0.5), x, n)
    def Quantile(self, x, n, q): return self.rolling(lambda v, i: quantile(v, q), x, n)
    def Mad(self, x, n): return self.rolling(lambda v, i: np.abs(v - v.mean()).mean(), x, n)
    def Rank(self, x, n): return self.rolling(lambda v, i: ((v < v[-1]).sum() + (v <= v[-1]).sum() + 1) / self.dtype(2 * len(v)), x, n, newest=True)
    def Count(self, x, n): return self.windows(lambda v, i: len(v), n, 0, x)
    def Slope(self, x, n): return self.rolling(lambda v, i: slope(v, i), x, n)
    def Rsquare(self, x, n): return self.rolling(lambda v, i: correlation(v, i.astype(v.dtype)) ** 2, x, n)
    def Resi(self, x, n): return self.rolling(lambda v, i: v[-1] - v.mean() - slope(v, i) * (n - i.astype(v.dtype).mean()), x, n, newest=True)
    def WMA(self, x, n): return self.rolling(lambda v, i: (v * i).sum() / i.sum(), x, n)

    def EMA(self, x, n):
        q = 1 - self.dtype(2) / (n + 1)
        return self.rolling(lambda v, i: (v * q ** (8 * n - i)).sum() / (q ** (8 * n - i)).sum(), x, 8 * n)

    def Corr(self, x, y, n): return self.windows(lambda v, w, i: correlation(v, w), n, math.ceil(n * 4 / 5), x, y)
    def Cov(self, x, y, n): return self.windows(lambda v, w, i: covariance(v, w), n, math.ceil(n * 4 / 5), x, y)

    # compute is told the values of the symbols of a session, or of a sector of it.
    def section(self, compute, x, group=None):
        table = np.full(self.bar.shape, np.nan, self.dtype)
        groups = [range(len(self.sectors))] if group is None else [
            [k for k, s in enumerate(self.sectors) if s == sector] for sector in set(self.sectors) if sector >= 0]
        for t in range(self.rows):
            for members in groups:
                some = [k for k in members if not np.isnan(x.table[t, k])]
                if some:
                    table[t, some] = compute(x.table[t, some])
        return self.value(table, x.lookback)

    def CSRank(self, x, group=None): return self.section(lambda v: [((v < a).sum() + (v <= a).sum() + 1) / self.dtype(2 * len(v)) for a in v], x, group)
    def CSMean(self, x, group=None): return self.section(lambda v: v.mean(), x, group)
    def CSMed(self, x, group=None): return self.section(lambda v: quantile(v, 0.5), x, group)
    def CSDemean(self, x, group=None): return self.section(lambda v: v - v.mean(), x, group)
    def CSStd(self, x, group=None): return self.section(lambda v: np.sqrt(variance(v)), x, group)
    def CSZScore(self, x, group=None): return self.section(lambda v: np.nan if flat(v) else (v - v.mean()) / np.sqrt(variance(v)), x, group)


def flat(v): return v.max() == v.min()


def variance(v): return covariance(v, v)


def covariance(v, w):
    if len(v) < 2:
        return np.nan
    if flat(v) or flat(w):
        return 0
    return ((v - v.mean()) * (w - w.mean())).sum() / (len(v) - 1)


def correlation(v, w):
    if len(v) < 2 or flat(v) or flat(w):
        return np.nan
    return covariance(v, w) / np.sqrt(variance(v) * variance(w))


def slope(v, i):
    i = i.astype(v.dtype)
    return covariance(v, i) / variance(i)


def skewness(v):
    n, d = v.dtype.type(len(v)), v - v.mean()
    if flat(v):
        return np.nan
    return np.sqrt(n * (n - 1)) / (n - 2) * (d ** 3).mean() / (d ** 2).mean() ** v.dtype.type(1.5)


def kurtosis(v):
    n, d = v.dtype.type(len(v)), v - v.mean()
    if flat(v):
        return np.nan
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (d ** 4).mean() / (d ** 2).mean() ** 2 - 3 * (n - 1))


def quantile(v, q):
    v = np.sort(v)
    at = q * (len(v) - 1)
    k = int(at)
    return v[-1] if k + 1 >= len(v) else v[k] + (v[k + 1] - v[k]) * v.dtype.type(at - k)


class Pandas(Plain):
    """By pandas where it has the function, in float64."""

    dtype = np.float64

    def by(self, x, n, compute):
        frame = pd.DataFrame(x.table)
        return self.value(compute(frame.rolling(n, min_periods=math.ceil(n * 4 / 5))), x.lookback + n - 1)

    def unless_flat(self, x, n, v):
        r = pd.DataFrame(x.table).rolling(n, min_periods=1)
        v.table[(r.max() == r.min()).to_numpy()] = np.nan
        return v

    def Mean(self, x, n): return self.by(x, n, lambda r: r.mean())
    def Sum(self, x, n): return self.by(x, n, lambda r: r.sum())
    def Var(self, x, n): return self.by(x, n, lambda r: r.var())
    def Std(self, x, n): return self.by(x, n, lambda r: r.std())
    def Skew(self, x, n): return self.unless_flat(x, n, self.by(x, n, lambda r: r.skew()))
    def Kurt(self, x, n): return self.unless_flat(x, n, self.by(x, n, lambda r: r.kurt()))
    def Max(self, x, n): return self.by(x, n, lambda r: r.max())
    def Min(self, x, n): return self.by(x, n, lambda r: r.min())
    def Med(self, x, n): return self.by(x, n, lambda r: r.median())
    def Quantile(self, x, n, q): return self.by(x, n, lambda r: r.quantile(q))
    def Rank(self, x, n): return self.by(x, n, lambda r: r.rank(pct=True))
    def Ref(self, x, n): return self.value(pd.DataFrame(x.table).shift(n), x.lookback + n)

    def Count(self, x, n):
        return self.value(pd.DataFrame(x.table).rolling(n, min_periods=0).count(), x.lookback + n - 1)

    def by_pair(self, x, y, n, compute):
        table = np.full(self.bar.shape, np.nan)
        for k in range(self.bar.shape[1]):
            a, b = pd.Series(x.table[:, k]), pd.Series(y.table[:, k])
            both = a.notna() & b.notna()
            a, b = a.where(both), b.where(both)
            r = compute(a.rolling(n, min_periods=math.ceil(n * 4 / 5)), b)
            for side in (a, b):
                w = side.rolling(n, min_periods=1)
                if compute is correlated:
                    r[w.max() == w.min()] = np.nan
            table[:, k] = r
        return self.value(table, max(x.lookback, y.lookback) + n - 1)

    def Corr(self, x, y, n): return self.by_pair(x, y, n, correlated)
    def Cov(self, x, y, n): return self.by_pair(x, y, n, lambda r, b: r.cov(b))

    def CSRank(self, x, group=None):
        frame = pd.DataFrame(x.table)
        if group is None:
            return self.value(frame.rank(axis=1, pct=True), x.lookback)
        table = frame.T.groupby(self.sectors).rank(pct=True).T
        table.loc[:, [s < 0 for s in self.sectors]] = np.nan
        return self.value(table, x.lookback)


def correlated(r, b): return r.corr(b)


def evaluated(panel):
    both = Pandas(panel["bars"]), Plain(panel["bars"])
    return b"".join(e.evaluate(text).tobytes() for text in panel["expressions"] for e in both)


def main(cases, out):
    with open(cases) as f, open(out, "wb") as to, multiprocessing.Pool() as pool:
        for values in pool.imap(evaluated, json.load(f)):
            to.write(values)


if __name__ == "__main__":
    main(*sys.argv[1:])
