// Package tracking is what clients that speak MLflow's protocol make of a lab:
// their experiments, runs, datasets and models, as runs and experiments of quant.
// It owns the rules (what an id means, how a run is resumed, what a name may be);
// the documents on the wire are those of server/mlflow, the rows the metastore's.
package tracking
