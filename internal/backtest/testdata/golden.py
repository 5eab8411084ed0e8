# Makes empyrical.json: three series of returns and what empyrical-reloaded 0.7.1
# (numpy 2.4.6, scipy 1.17.1) says of them. Run by hand:
#   pip install empyrical-reloaded==0.7.1 scipy
#   python3 golden.py > empyrical.json
import json

import empyrical
import numpy
from scipy import stats

random = numpy.random.RandomState(1337)
cases = []
for n, mean, deviation in [(2, 0.001, 0.02), (300, 0.0005, 0.01), (2520, -0.0002, 0.02)]:
    r = random.normal(mean, deviation, n)
    cases.append({
        "returns": r.tolist(),
        "cagr": empyrical.cagr(r), "vol": empyrical.annual_volatility(r), "sharpe": empyrical.sharpe_ratio(r),
        "sortino": empyrical.sortino_ratio(r), "calmar": empyrical.calmar_ratio(r), "max_dd": empyrical.max_drawdown(r),
        "skew": stats.skew(r), "kurtosis": stats.kurtosis(r, fisher=False),
    })
print(json.dumps(cases))
