package registry

import (
	"strings"
	"testing"
	"time"
)

func TestOnlyAVersion7UUIDIsARunID(t *testing.T) {
	t.Parallel()
	id, err := newRunID(time.Now(), systemRandom)
	if err != nil || !IsRunID(id) {
		t.Errorf("%q, %v", id, err)
	}
	for _, s := range []string{"", strings.Repeat("-", 36), strings.ToUpper(id) + "", id + "0", id[:14] + "4" + id[15:], strings.Replace(id, "-", "0", 1)} {
		if s != id && IsRunID(s) {
			t.Errorf("%q is taken for a run id", s)
		}
	}
}
