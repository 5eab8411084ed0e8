package metastoretest

import (
	"context"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)
