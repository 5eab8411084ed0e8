package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant/internal/durable"
	"quant/internal/test/labtest"
)

// A process that cannot get going because another one does not go on ends within a
// bound, and says what it waited for. What is held here is held for ever.
func TestAProcessThatCannotGetGoingSaysSo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, wait, locked string
		folder             bool
		made               bool // there is a lab already
		killed             bool // a remedy of it was killed
		how                durable.Hold
		args               []string
		want               string
	}{
		{name: "another makes the lab", wait: "meta", locked: "meta.db.lock", how: durable.Exclusive,
			args: []string{"symbols", "add", "X"}, want: "is being made or migrated by another process (waited 300ms)"},
		{name: "another replaces the lab", wait: "claim", locked: "meta.db.live", folder: true, made: true, how: durable.Exclusive,
			args: []string{"symbols", "add", "X"}, want: "is being replaced by another process (waited 300ms)"},
		{name: "a remedy was killed and another is at work", wait: "claim", locked: "meta.db.live", folder: true, made: true, killed: true, how: durable.Shared,
			args: []string{"symbols", "add", "X"}, want: "was killed, and other processes still use it"},
		{name: "a remedy beside another", wait: "remedy", locked: "meta.db.turn", made: true, how: durable.Exclusive,
			args: []string{"init-db", "--reset", "--yes"}, want: "another quant process uses the lab"},
		{name: "a remedy beside a command", wait: "remedy", locked: "meta.db.live", folder: true, made: true, how: durable.Shared,
			args: []string{"init-db", "--reset", "--yes"}, want: "another quant process uses the lab"},
		{name: "another removes artifacts", wait: "artifacts", locked: "meta.db.artifacts.lock", made: true, how: durable.Exclusive,
			args: []string{"log", "artifact", "--run", "last", "note.txt"}, want: "are held by another process, still after 300ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
			l.Write("note.txt", []byte("text"))
			if c.made {
				l.Must("symbols", "add", "FIRST")
			}
			if c.args[0] == "init-db" {
				l.Write(filepath.Join("data", "meta.db"), []byte("not a database")) // what it is for
			}
			if c.killed {
				l.Write(filepath.Join("data", "meta.db.restoring.json"), []byte("{}"))
			}
			var held *durable.Lock
			if c.folder {
				f, err := os.Open(l.Path("data", c.locked))
				labtest.Must(t, err)
				held = durable.LockOn(f)
			} else {
				var err error
				held, err = durable.OpenLock(l.Path("data", c.locked))
				labtest.Must(t, err)
			}
			defer held.Close()
			labtest.Must(t, held.Try(c.how))
			l.Env = append(l.Env, "QUANT_TEST_PATIENCE="+c.wait+"=300ms")
			r := l.Run(c.args...)
			l.WantCode(r, 5)
			if !strings.Contains(r.Stderr, c.want) || !strings.Contains(r.Stderr, "hint:") {
				t.Errorf("want %q and a hint: %v", c.want, r)
			}
			if r.Took > 15*time.Second {
				t.Errorf("the bound is not kept: %v", r)
			}
		})
	}
}
