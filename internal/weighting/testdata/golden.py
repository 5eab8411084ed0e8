"""Makes golden.json: weights by other programs on random instances.

    pip install cvxpy==1.9.3 quadprog==0.1.14 scikit-learn==1.9.1 skfolio==1.12.2 scipy numpy
    python golden.py > golden.json

The returns come of a generator of whole numbers that the test repeats to the bit.
Covariances are scikit-learn's LedoitWolf; the optima are quadprog's, and each is held
to cvxpy's with Clarabel here; weights of least variance and of risk parity are held
to skfolio's.
"""
import json
import sys
import warnings
from importlib.metadata import version

import cvxpy as cp
import numpy as np
import quadprog
from scipy.optimize import minimize
from skfolio import RiskMeasure
from skfolio.moments import LedoitWolf as SkfolioLedoitWolf
from skfolio.optimization import InverseVolatility, MeanRisk, ObjectiveFunction, RiskBudgeting
from skfolio.prior import EmpiricalPrior
from sklearn.covariance import LedoitWolf

warnings.filterwarnings("ignore")


class Chance:
    def __init__(self, seed):
        self.x = seed & 0xFFFFFFFF

    def __call__(self):
        self.x = (1664525 * self.x + 1013904223) & 0xFFFFFFFF
        return self.x / 4294967296


def instance(number):
    chance = Chance(number * 7919 + 17)
    n = 2 + int(chance() * 11)
    sessions = 30 + int(chance() * 60)
    beta = [chance() * 1.5 for _ in range(n)]
    own = [0.002 + chance() * 0.03 for _ in range(n)]
    returns = []
    for _ in range(sessions):
        market = 0.02 * (chance() - 0.5)
        returns.append([beta[k] * market + own[k] * (chance() - 0.5) for k in range(n)])
    expected = [0.002 * (chance() - 0.5) for _ in range(n)]
    most = max(0.15, 1.3 / n)
    aversion = 1 + 20 * chance()
    sectors = [int(chance() * 3) for _ in range(n)]
    return np.array(returns), np.array(expected), most, aversion, sectors


def solve(cov, linear, equal, least):
    """min x'Gx/2 - a'x with C'x >= b, the first of them equalities."""
    scale = np.mean(np.diag(cov))
    rows = equal + least
    c = np.array([r for r, _ in rows], dtype=float).T
    b = np.array([v for _, v in rows], dtype=float)
    return quadprog.solve_qp(cov / scale, linear / scale, c, b, len(equal))[0]


def check(cov, linear, equal, least, x, what):
    scale = np.mean(np.diag(cov))
    w = cp.Variable(len(linear))
    rules = [np.array(r) @ w == v for r, v in equal] + [np.array(r) @ w >= v for r, v in least]
    problem = cp.Problem(cp.Minimize(cp.quad_form(w, cp.psd_wrap(cov / scale)) / 2 - (linear / scale) @ w), rules)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    away = np.max(np.abs(w.value - x))
    assert away < 1e-6, (what, away)


def unit(n, i, sign=1):
    return [sign if k == i else 0 for k in range(n)]


def main():
    out = []
    for number in range(250):
        returns, expected, most, aversion, sectors = instance(number)
        n = returns.shape[1]
        model = LedoitWolf().fit(returns)
        cov = model.covariance_
        ones = [1] * n
        box = [(unit(n, i), 0) for i in range(n)] + [(unit(n, i, -1), -most) for i in range(n)]
        zero = np.zeros(n)
        one = {"shrinkage": model.shrinkage_, "trace": float(np.trace(cov)), "sum": float(cov.sum())}

        equal = [(ones, 1)]
        one["min_variance"] = solve(cov, zero, equal, box)
        check(cov, zero, equal, box, one["min_variance"], "min_variance")
        one["mean_variance"] = solve(cov, expected / aversion, equal, box)
        check(cov, expected / aversion, equal, box, one["mean_variance"], "mean_variance")

        # No sector above a half, and 0.8 to invest, where that can be.
        caps = [([-1 if s == sector else 0 for s in sectors], -0.5) for sector in sorted(set(sectors))]
        try:
            one["capped"] = solve(cov, expected / aversion, [(ones, 0.8)], box + caps)
            check(cov, expected / aversion, [(ones, 0.8)], box + caps, one["capped"], "capped")
        except ValueError as e:
            assert "infeasible" in str(e) or "inconsistent" in str(e), e
            one["capped"] = None

        # Half long in the first names, half short in the others.
        if n >= 4:
            half = n // 2
            bound = max(0.2, 0.7 / half)
            signed = [(unit(n, i), 0) for i in range(half)] + [(unit(n, i, -1), -bound) for i in range(half)]
            signed += [(unit(n, i), -bound) for i in range(half, n)] + [(unit(n, i, -1), 0) for i in range(half, n)]
            sides = [([1] * half + [0] * (n - half), 0.5), ([0] * half + [1] * (n - half), -0.5)]
            one["signed"] = solve(cov, expected / aversion, sides, signed)
            check(cov, expected / aversion, sides, signed, one["signed"], "signed")

        scale = np.mean(np.diag(cov))

        # The risks are equal where cov y = 1/y, solved for the logarithm of y.
        def gap(v):
            return np.exp(v) * (cov @ np.exp(v)) / scale - 1 / n

        def spinu(v):
            return np.exp(v) @ cov @ np.exp(v) / 2 / scale - v.sum() / n

        found = minimize(spinu, np.log(np.sqrt(scale / np.diag(cov) / n)), jac=gap, method="BFGS", options={"gtol": 1e-9})
        y = np.exp(found.x)
        for _ in range(5):  # Newton's steps to the last digit
            slope = np.diag(y) @ (cov / scale) @ np.diag(y) + np.diag(y * (cov @ y) / scale)
            y = y * np.exp(-np.linalg.solve(slope, gap(np.log(y))))
        one["risk_parity"] = y / y.sum()
        contributions = one["risk_parity"] * (cov @ one["risk_parity"])
        assert np.ptp(contributions) / contributions.mean() < 1e-10
        one["inverse_vol"] = 1 / returns.std(axis=0)
        one["inverse_vol"] /= one["inverse_vol"].sum()

        if number < 25:
            prior = EmpiricalPrior(covariance_estimator=SkfolioLedoitWolf())
            least = MeanRisk(risk_measure=RiskMeasure.VARIANCE, objective_function=ObjectiveFunction.MINIMIZE_RISK, min_weights=0, max_weights=most, scale_objective=1 / scale,
                             prior_estimator=prior, solver="CLARABEL", solver_params={"tol_gap_abs": 1e-14, "tol_gap_rel": 1e-14, "tol_feas": 1e-14}).fit(returns)
            away = np.max(np.abs(InverseVolatility().fit(returns).weights_ - one["inverse_vol"]))
            assert away < 1e-12, ("skfolio, inverse volatility", number, away)
            away = np.max(np.abs(least.weights_ - one["min_variance"]))
            assert away < 1e-6, ("skfolio, least variance", number, away)
            parity = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE, prior_estimator=prior, solver="CLARABEL",
                                   solver_params={"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}).fit(returns)
            away = np.max(np.abs(parity.weights_ - one["risk_parity"]))
            theirs = parity.weights_ * (cov @ parity.weights_)  # a conic solver's: the contributions agree to some four digits only
            assert away < 1e-3 and np.ptp(theirs) > np.ptp(contributions), ("skfolio, risk parity", number, away)
        out.append({k: [round(float(x), 12) for x in v] if isinstance(v, np.ndarray) else v for k, v in one.items()})
    packages = {p: version(p) for p in ["scikit-learn", "quadprog", "cvxpy", "clarabel", "skfolio", "numpy", "scipy"]}
    sys.stdout.write('{"packages": ' + json.dumps(packages) + ', "instances": [\n' + ",\n".join(json.dumps(o) for o in out) + "\n]}\n")


main()
