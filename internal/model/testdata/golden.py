"""Reference numbers for linear_test.go, from scikit-learn.

    pip install --target DIR scikit-learn==1.9.1 numpy && PYTHONPATH=DIR python3 golden.py > sklearn.json

The data is drawn with a fixed seed and stored with the results, so that the
test needs neither this script nor scikit-learn.
"""
import json, sys
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.metrics import roc_auc_score, log_loss
from scipy.stats import spearmanr

rng = np.random.default_rng(20240102)
n, p = 240, 4
x = rng.normal(size=(n, p)) * [0.01, 3.0, 100.0, 1.0] + [0.0, -2.0, 1000.0, 0.5]
x[:, 3] += 0.8 * x[:, 1]  # correlated features
signal = 20 * x[:, 0] - 0.3 * x[:, 1] + 0.004 * (x[:, 2] - 1000)
y = signal + rng.normal(size=n)
direction = (y > 0.4).astype(float)
x, y = np.round(x, 9), np.round(y, 9)
z = StandardScaler().fit_transform(x)
out = {"origin": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, testdata/golden.py",
       "x": x.tolist(), "y": y.tolist(), "direction": direction.tolist(), "ridge": [], "logistic": []}
for alpha in [1.0, 10.0, 1000.0]:
    m = Ridge(alpha=alpha, solver="cholesky").fit(z, y)
    out["ridge"].append({"alpha": alpha, "intercept": float(m.intercept_), "coefficients": m.coef_.tolist(),
                         "rmse": float(np.sqrt(np.mean((m.predict(z) - y) ** 2)))})
    m = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-14, max_iter=1000).fit(z, direction)
    prob = m.predict_proba(z)[:, 1]
    out["logistic"].append({"alpha": alpha, "intercept": float(m.intercept_[0]), "coefficients": m.coef_[0].tolist(),
                            "auc": float(roc_auc_score(direction, prob)), "log_loss": float(log_loss(direction, prob))})
a, b = np.round(x[:, 3], 0), y  # ties on purpose
out["pearson"], out["spearman"] = float(np.corrcoef(a, b)[0, 1]), float(spearmanr(a, b).statistic)
json.dump(out, sys.stdout)
print()
