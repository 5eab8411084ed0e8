#!/usr/bin/env bash
# The research example of Qlib's README in Qlib and in quant, on the same bars, and the
# figures of both side by side, as docs/qlib.md shows them:
#
#     bench/peers/qlib_example.sh WORK
#
# WORK is a folder that does not exist yet. Needs quant on the PATH, Python 3.11 with
# venv, a package index, and about two minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir "$1"
cd "$1"
python=${QLIB_PYTHON:-$PWD/venv/bin/python}
if [ -z "${QLIB_PYTHON:-}" ]; then
  python3 -m venv venv
  "$python" -m pip install --quiet --disable-pip-version-check pyqlib==0.9.7 lightgbm==4.7.0 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1
fi
"$python" "$here/../../examples/market.py" --names 150 --clean > prices.csv

"$python" "$here/qlib_example.py" prices.csv qlib > qlib.log 2>&1

export QUANT_DATA_DIR=$PWD/data
quant -q ingest prices.csv
quant -q features --feature-version alpha158 > features.txt
quant -q labels --horizon 1
quant -q sql --output csv --limit 0 "SELECT * FROM features_alpha158 WHERE ts >= DATE '2017-01-01' ORDER BY ts, symbol" > features.csv
quant -q sql --output csv --limit 0 "SELECT symbol, ts, label_value AS label FROM labels WHERE label_name = 'fwd_ret_1d' AND ts >= DATE '2017-01-01'" > labels.csv

# Qlib's label of t is the return from t + 1 to t + 2, which is fwd_ret_1d of the next
# session. So its scores, dated a session later, are judged against that.
"$python" "$here/qlib_compare.py" shift
quant -q features import shifted.csv --feature-version qlib_scores
quant -q factor report --feature score@qlib_scores --label fwd_ret_1d
quant -q --output json factor report --feature score@qlib_scores --label fwd_ret_1d > factor.json

# A book of the same scores, on their own days.
quant -q predictions import qlib/scores.csv --model qlib
cat > topk.yaml <<'END'
strategy_id: topk
version: "1"
universe:   {type: all}
signal:     {type: model_score, inputs: {model_id: qlib, task_id: imported}}
rebalance:  {frequency: daily, asof_policy: close}
portfolio:  {top_k: 50, weighting: equal}
supervisor: {gross_exposure_cap: 0.95, max_weight_per_symbol: 0.05, max_positions: 50, turnover_cap: 0.1}
execution:  {price: close, lag_days: 1}
backtest:   {from: "2017-01-03", to: "2018-02-05", fee_bps: 10, initial_capital: 100000000, benchmark: equal_weight}
END
quant -q recommend --strategy topk.yaml > decisions.txt
quant -q backtest --strategy topk.yaml
quant -q sql --output csv --limit 0 "SELECT ts, ret FROM backtest_equity ORDER BY ts" > returns.csv
quant -q --output json backtest list --strategy topk > book.json

# The same question asked of quant alone.
quant -q experiments create example --features alpha158 --label fwd_ret_1d@v1 --folds 1 --min-train 922 --seed 1 > experiment.txt
quant -q train --experiment example --algo program -- "$python" "$here/qlib_model.py"
quant -q score --model experiment:example --from 2017-01-04 --to 2018-02-05
sed 's/strategy_id: topk/strategy_id: own/; s/model_id: qlib, task_id: imported/model_id: "experiment:example", task_id: wf/; s/2017-01-03/2017-01-04/' topk.yaml > own.yaml
quant -q pipeline run --strategy own.yaml

"$python" "$here/qlib_compare.py" compare
