"""Makes cpcv_skfolio.json: pip install skfolio==1.12.2 && python cpcv_golden.py > cpcv_skfolio.json"""
import json

import numpy as np
import skfolio
from skfolio.model_selection import CombinatorialPurgedCV

cases = []
for n, groups, tests, horizon, embargo in [(66, 6, 2, 3, 2), (71, 6, 2, 3, 2), (103, 10, 3, 2, 0), (60, 4, 2, 5, 3), (130, 8, 4, 1, 6), (59, 5, 2, 4, 0)]:
    cv = CombinatorialPurgedCV(n_folds=groups, n_test_folds=tests, purged_size=horizon, embargo_size=embargo)
    splits = []
    for fit, test in cv.split(np.zeros((n, 1))):
        cuts = np.flatnonzero(np.diff(fit) != 1)
        lo = [int(fit[0])] + [int(fit[c + 1]) for c in cuts]
        hi = [int(fit[c]) + 1 for c in cuts] + [int(fit[-1]) + 1]
        splits.append({"fit": [list(x) for x in zip(lo, hi)], "test": [[int(t[0]), int(t[-1]) + 1] for t in test]})
    cases.append({"sessions": n, "groups": groups, "test_groups": tests, "horizon": horizon, "embargo": embargo, "splits": splits,
                  "paths": cv.n_test_paths, "path_ids": cv.get_path_ids().tolist()})
print(json.dumps({"made_with": f"skfolio {skfolio.__version__} CombinatorialPurgedCV(purged_size=horizon, embargo_size=embargo)", "cases": cases}, separators=(",", ":")))
