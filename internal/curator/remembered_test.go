package curator

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"quant/internal/factstore"
)

// The same file again is not read where it is proven that it changes nothing, and
// says what reading it says; every doubt has it read.
func TestAFileThatChangesNothingIsNotReadAgain(t *testing.T) {
	const plain = "symbol,date,open,high,low,close,volume,adj_close\nA,2020-01-02,10,12,9,11,100,11\nA,2020-01-03,10,12,9,11,100,11\nA,2020-01-03,10,12,9,11,100,11\nA,2020-01-06,0,0,0,11,0,11\n"
	foreign := func(l *lab, query string) {
		l.Helper()
		path := l.db.Path()
		l.db.Close()
		duck(l.T, "ATTACH '"+path+"' AS f", query, "DETACH f")
		var err error
		if l.db, err = factstore.OpenWrite(l.Context(), factstore.Options{Path: path}); err != nil {
			l.Fatal(err)
		}
		l.Cleanup(func() { l.db.Close() })
	}
	for name, c := range map[string]struct {
		change func(l *lab, path string)
		ask    func(*Request)
		read   bool
	}{
		"nothing happened": {},
		"a copy of the same bytes in its place": {change: func(l *lab, path string) {
			text, err := os.ReadFile(path)
			if err != nil || os.Remove(path) != nil || os.WriteFile(path, text, 0o600) != nil {
				l.Fatal(err)
			}
		}},
		"another price": {change: func(l *lab, path string) { l.file("bars.csv", strings.Replace(plain, "11,100", "10,100", 1)) }, read: true},
		"another row":   {change: func(l *lab, path string) { l.file("bars.csv", plain+"A,2020-01-07,10,12,9,11,100,11\n") }, read: true},
		"another file brought bars": {change: func(l *lab, path string) {
			l.mustIngest(nil, l.file("other.csv", "symbol,date,open,high,low,close,volume\nB,2020-01-02,10,12,9,11,100\n"))
		}, read: true},
		"another request":                 {ask: func(r *Request) { r.VolumeMissing = "zero" }, read: true},
		"the clock went back":             {ask: func(r *Request) { r.Now = func() time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) } }, read: true},
		"another program took a row away": {change: func(l *lab, _ string) { foreign(l, "DELETE FROM f.ohlcv WHERE ts = '2020-01-02'") }, read: true},
		"another program put a row in": {change: func(l *lab, _ string) {
			foreign(l, "INSERT INTO f.ohlcv SELECT * REPLACE (ts + 9 AS ts, NULL AS ingested_at) FROM f.ohlcv LIMIT 1")
		}, read: true},
		"another program changed a row": {change: func(l *lab, _ string) {
			foreign(l, "UPDATE f.ohlcv SET close = 11.5, ingested_at = ingested_at + INTERVAL 1 SECOND WHERE ts = '2020-01-02'")
		}, read: true},
		"another program changed the file": {change: func(l *lab, path string) { spoilMemory(l) }, read: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			path := l.file("bars.csv", plain)
			ingestOnce := func(run, memory string, ask func(*Request)) (said string, read bool) {
				t.Helper()
				req := Request{RunID: run, Files: []string{path}, MaxRejectRatio: 1, Now: clock, Memory: memory, Progress: func(p Progress) { read = read || p.Stage == Checking }}
				if ask != nil {
					ask(&req)
				}
				p, err := req.plan()
				if err != nil {
					t.Fatal(err)
				}
				inputs, err := Inspect(p.Files)
				if err != nil {
					t.Fatal(err)
				}
				r, err := (&ingest{plan: p, db: l.db, inputs: inputs}).do(t.Context())
				if err != nil && ask == nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				return string(text), read
			}
			memory := l.dir + "/memory"
			ingestOnce("first", memory, nil)
			if c.change != nil {
				c.change(l, path)
			}
			got, read := ingestOnce("again", memory, c.ask)
			if read != c.read {
				t.Errorf("read: %v, want %v", read, c.read)
			}
			if !c.read {
				want, _ := ingestOnce("once more", "", c.ask)
				if got != want {
					t.Errorf("says\n%s\nand where it is read\n%s", got, want)
				}
			}
		})
	}
}

// spoilMemory cuts what is remembered.
func spoilMemory(l *lab) {
	l.Helper()
	entries, err := os.ReadDir(l.dir + "/memory")
	if err != nil || len(entries) != 1 {
		l.Fatal(entries, err)
	}
	if err := os.Truncate(l.dir+"/memory/"+entries[0].Name(), 40); err != nil {
		l.Fatal(err)
	}
}
