package process

import "errors"

// UsageOf is ErrUnsupported: macOS tells it through libproc only.
func UsageOf(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }
