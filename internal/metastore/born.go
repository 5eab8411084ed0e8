package metastore

import "context"

// Born is a Store that tells its lab from every other, whatever it is called and wherever
// it is moved.
type Born interface {
	// Born is when the Meta DB was made, to the microsecond. A copy of it says the same.
	Born(ctx context.Context) (string, error)
}
