// Package strategies holds the example strategy files, so that the binary can
// write them where somebody tries the lab. The format is documented in
// docs/strategy.md; internal/strategy reads it.
package strategies

import _ "embed"

// MomentumDemo is momentum_demo.yaml: the demo's strategy.
//
//go:embed momentum_demo.yaml
var MomentumDemo []byte
