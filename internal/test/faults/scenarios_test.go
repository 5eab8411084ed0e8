package faults

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

// scenario is a command in a lab that was prepared for it.
type scenario struct {
	name   string
	lab    *labtest.Prepared
	args   []string
	target string // the file that it makes, from the lab's folder; "" for none
	again  []int  // how the same command may end once it is done; nil: with 0
	resets bool   // it takes the facts away
	swaps  bool   // it puts another lab in the place of this one
	small  bool   // its disk is small, which doctor names; done is judged already
	broken bool   // the Meta DB is broken until the command has mended it
}

const strategy = `strategy_id: demo
version: "1"
universe: {type: symbols, symbols: [A, B, C]}
signal: {type: factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: monthly, asof_policy: close}
portfolio: {top_k: 1, weighting: equal}
supervisor: {max_weight_per_symbol: 1.0, turnover_cap: 1.0, max_positions: 2}
backtest: {from: "2015-03-01", to: "2015-06-30"}
`

// made is a lab after these command lines, its databases closed and complete.
func made(lines ...[]string) *labtest.Prepared {
	return &labtest.Prepared{Make: func(l *labtest.Lab) { furnish(l, lines...) }}
}

func furnish(l *labtest.Lab, lines ...[]string) {
	l.Env = []string{"QUANT_CALENDAR=data"}
	l.Write("first.csv", labtest.PriceFile(1, 120, "A", "B"))
	l.Write("second.csv", labtest.PriceFile(2, 200, "B", "C"))
	l.Write("symbols.csv", []byte("symbol,name\nIMP,imported\nA,named\n"))
	l.Write("s.yaml", []byte(strategy))
	l.Write("note.txt", []byte(strings.Repeat("what is noted\n", 2000)))
	l.Write("script.sh", []byte("echo out; echo err >&2; quant symbols add MADE --quiet 2>/dev/null; test $? -eq 0 -o $? -eq 5\n"))
	for _, line := range lines {
		l.Must(line...)
	}
	if _, err := os.Stat(l.Meta()); err == nil {
		db := l.OpenMeta("")
		_, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
		labtest.Must(l.T, errors.Join(err, db.Close()))
	}
}

var (
	symbolsAdd = []string{"symbols", "add", "KEEP", "--name", "kept"}
	ingest     = []string{"ingest", "first.csv"}
	more       = []string{"ingest", "second.csv"}
	noted      = []string{"log", "artifact", "--run", "last:ingest", "note.txt"}
	created    = []string{"experiments", "create", "exp", "--features", "ret_5d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1", "--folds", "2"}
	chain      = [][]string{symbolsAdd, ingest, more, {"features"}, {"labels", "--horizon", "5"}, created, {"train", "--experiment", "exp"},
		{"recommend", "--strategy", "s.yaml"}, {"backtest", "--strategy", "s.yaml"}}

	data    = made(symbolsAdd, ingest, noted)
	priced  = made(chain[:3]...)
	fed     = made(chain[:4]...)
	asked   = made(chain[:6]...)
	taught  = made(chain[:7]...)
	decided = made(chain[:8]...)
	backed  = made(symbolsAdd, ingest, noted, []string{"backup", "old.tar"}, []string{"symbols", "add", "LATER"}, more)
	given   = &labtest.Prepared{Make: func(l *labtest.Lab) {
		furnish(l, symbolsAdd, ingest, noted, []string{"runs", "export", "last:ingest", "runs.qrx"})
		labtest.Must(l.T, os.RemoveAll(l.Path("data")))
		furnish(l, []string{"symbols", "add", "OTHER"})
	}}
	damaged = &labtest.Prepared{Make: func(l *labtest.Lab) {
		furnish(l, symbolsAdd, ingest, noted, []string{"exec", "--", "sh", "-c", "echo printed"})
		b, err := os.ReadFile(l.Meta())
		labtest.Must(l.T, err)
		copy(b[len(b)-4096:], bytes.Repeat([]byte{0x5a}, 4096)) // the last page is gone
		labtest.Must(l.T, os.WriteFile(l.Meta(), b, 0o600))
	}}
	littered = &labtest.Prepared{Make: func(l *labtest.Lab) {
		furnish(l, symbolsAdd, ingest, noted, []string{"exec", "--name", "gone", "--", "sh", "-c", "echo printed"})
		l.Write("other.txt", []byte("of a run that is purged"))
		gone := l.RunOf("exec").ID
		l.Must("log", "artifact", "--run", gone, "other.txt")
		l.Must("runs", "delete", gone)
		l.Must("runs", "purge", "--yes", gone)
	}}
)

// scenarios are the commands that change something.
func scenarios() []scenario {
	done := []int{0, 5}
	return []scenario{
		{name: "init-db", args: []string{"init-db"}},
		{name: "config in nothing", args: []string{"config"}},
		{name: "ingest in nothing", args: ingest},
		{name: "init-db --reset", lab: data, args: []string{"init-db", "--reset", "--yes"}, resets: true},
		{name: "ingest", lab: data, args: more},
		{name: "symbols add", lab: data, args: []string{"symbols", "add", "NEW"}, again: done},
		{name: "symbols set", lab: data, args: []string{"symbols", "set", "A", "--name", "other"}},
		{name: "symbols remove", lab: data, args: []string{"symbols", "remove", "KEEP"}, again: []int{0, 4}},
		{name: "symbols import", lab: data, args: []string{"symbols", "import", "symbols.csv"}},
		{name: "experiments create", lab: data, args: created},
		{name: "log metric", lab: data, args: []string{"log", "metric", "--run", "last:ingest", "loss=0.5", "--step", "1"}},
		{name: "log artifact", lab: data, args: []string{"log", "artifact", "--run", "last:ingest", "s.yaml"}},
		{name: "log tag", lab: data, args: []string{"log", "tag", "--run", "last:ingest", "team=alpha"}},
		{name: "exec", lab: data, args: []string{"exec", "--param", "lr=0.1", "--", "sh", "script.sh"}, again: []int{0}},
		{name: "runs delete", lab: data, args: []string{"runs", "delete", "last:symbols.add"}, again: []int{0, 4, 5}},
		{name: "runs export", lab: data, args: []string{"runs", "export", "last:ingest", "new.qrx", "--force"}, target: "new.qrx"},
		{name: "runs import", lab: given, args: []string{"runs", "import", "runs.qrx"}},
		{name: "backup", lab: data, args: []string{"backup", "new.tar"}, target: "new.tar", again: done},
		{name: "backup --force", lab: backed, args: []string{"backup", "old.tar", "--force"}, target: "old.tar"},
		{name: "restore", lab: backed, args: []string{"restore", "old.tar", "--yes"}, swaps: true},
		{name: "doctor --fix", lab: damaged, args: []string{"doctor", "--fix"}, broken: true},
		{name: "init-db --reset of a broken lab", lab: damaged, args: []string{"init-db", "--reset", "--yes"}, broken: true, resets: true},
		{name: "gc", lab: littered, args: []string{"gc", "--yes"}},
		{name: "features", lab: priced, args: []string{"features"}},
		{name: "labels", lab: fed, args: []string{"labels", "--horizon", "5"}},
		{name: "train", lab: asked, args: []string{"train", "--experiment", "exp"}},
		{name: "score", lab: taught, args: []string{"score", "--model", "experiment:exp", "--from", "2015-03-01", "--to", "2015-06-30", "--skip-in-sample"}},
		{name: "recommend", lab: taught, args: []string{"recommend", "--strategy", "s.yaml"}},
		{name: "backtest", lab: decided, args: []string{"backtest", "--strategy", "s.yaml"}},
		{name: "pipeline run", lab: data, args: []string{"pipeline", "run", "--strategy", "s.yaml", "--ingest", "second.csv"}},
	}
}

// stage copies the lab of a scenario.
func (s scenario) stage(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	if s.lab == nil {
		furnish(l)
	} else {
		l = s.lab.Copy(t)
	}
	l.Env = []string{"QUANT_CALENDAR=data", "GODEBUG=asyncpreemptoff=1"}
	if s.lab == littered {
		aged(t, l)
	}
	return l
}

// oracle runs the command undisturbed, and returns what it needs to judge a
// disturbed one, and the calls that can be disturbed.
func (s scenario) oracle(t *testing.T) (oracle, []place) {
	t.Helper()
	l := s.stage(t)
	o := oracle{target: s.target, swaps: s.swaps, resets: s.resets}
	var err error
	if !s.broken {
		if o.before, err = stateOf(t, l); err != nil {
			t.Fatal(err)
		}
	}
	r, places := run(l, fault{}, s.args...)
	if r.Code != 0 {
		t.Fatal(r)
	}
	if o.after, err = stateOf(t, l); err != nil {
		t.Fatal(err)
	}
	if s.broken {
		// What could be saved by the undisturbed remedy, but for its own run, stood
		// before.
		own := labtest.ClosingLine.FindStringSubmatch(r.Stderr)[1]
		o.before = state{meta: map[string][]string{}, facts: o.after.facts, files: maps.Clone(o.after.files)}
		maps.DeleteFunc(o.before.files, func(name, _ string) bool {
			return strings.Contains(name, own) || strings.HasPrefix(name, "data/backups/") || strings.Contains(name, ".broken-")
		})
		for table, rows := range o.after.meta {
			for _, row := range rows {
				if !strings.Contains(row, own) {
					o.before.meta[table] = append(o.before.meta[table], row)
				}
			}
		}
		if len(o.before.meta["runs"]) < 3 {
			t.Fatalf("the remedy saved %d runs", len(o.before.meta["runs"]))
		}
	}
	if s.swaps {
		o.archived = state{meta: map[string][]string{}, facts: o.after.facts, files: map[string]string{}}
		own := labtest.ClosingLine.FindStringSubmatch(r.Stderr)[1]
		for table, rows := range o.after.meta {
			for _, row := range rows {
				if !strings.Contains(row, own) {
					o.archived.meta[table] = append(o.archived.meta[table], row)
				}
			}
		}
	}
	if len(places) < 5 {
		t.Fatalf("only %d calls touched the lab", len(places))
	}
	return o, places
}

// afterwards goes on as a person would, once a command was disturbed, and returns
// what is wrong.
func (s scenario) afterwards(t *testing.T, l *labtest.Lab, o oracle, r labtest.Result, thorough bool) (findings []string) {
	t.Helper()
	note := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	findings = append(findings, said(r)...)
	if r.Code == 0 && !s.small {
		findings = append(findings, o.done(t, l, r)...)
	}
	if s.target != "" {
		findings = append(findings, s.whole(t, l, o, r.Code == 0)...)
	}
	step := func(codes []int, args ...string) labtest.Result {
		after := l.Run(args...)
		for _, f := range said(after) {
			note("%s, by %v", f, after)
		}
		for _, code := range codes {
			if after.Code == code {
				return after
			}
		}
		note("want exit status of %v: %v", codes, after)
		return after
	}
	if s.broken && r.Code != 0 {
		// gc takes nothing of a lab that waits for its remedy.
		aged(t, l)
		step([]int{0, 5, 6, 8}, "gc", "--yes")
		step([]int{0, 1}, s.args...)
	} else {
		step([]int{0}, "runs", "list")
	}
	findings = append(findings, o.judge(t, l, r, false)...)
	aged(t, l)
	step([]int{0}, "gc", "--yes")
	findings = append(findings, o.leftBehind(t, l)...)
	if !thorough && !s.broken {
		return findings
	}
	codes := s.again
	if codes == nil || r.Code != 0 && r.Code != labtest.Killed && s.name != "runs delete" {
		codes = append(codes, 0)
	}
	if s.small && s.args[0] == "doctor" {
		codes = append(codes, 1)
	}
	again := step(codes, s.args...)
	if s.small && again.Code == 1 && !onlySmall(again) {
		note("repeated: %v", again)
	}
	if again.Code == 0 && !s.swaps {
		if now, err := stateOf(t, l); err != nil {
			note("repeated: %v", err)
		} else {
			for table, digest := range o.after.facts {
				if !grows(table) && now.facts[table] != digest {
					note("repeated, and %s is another: %s, want %s", table, now.facts[table], digest)
				}
			}
		}
	}
	findings = append(findings, o.judge(t, l, again, true)...)
	if !s.small {
		step([]int{0}, "doctor")
	} else if last := step([]int{0, 1}, "doctor"); last.Code == 1 && !onlySmall(last) {
		note("doctor: %v", last)
	}
	return findings
}

// onlySmall tells that doctor found no fault but that its disk is small.
func onlySmall(r labtest.Result) bool {
	return strings.Contains(r.Stdout, "\n1 fault") && strings.Contains(r.Stdout, "MiB are free")
}

// whole: the file that a command makes is the old one, none, or a whole new one.
func (s scenario) whole(t *testing.T, l *labtest.Lab, o oracle, must bool) (findings []string) {
	t.Helper()
	now, err := os.ReadFile(l.Path(s.target))
	old, was := o.before.files[s.target]
	if !must && (err != nil && !was || err == nil && was && sumOf(now) == old) {
		return nil
	}
	if err != nil {
		return []string{"the file " + s.target + " is gone: " + err.Error()}
	}
	other := labtest.New(t)
	other.Write(s.target, now)
	args := []string{"restore", s.target, "--yes"}
	if strings.HasSuffix(s.target, ".qrx") {
		args = []string{"runs", "import", s.target}
	}
	if r := other.Run(args...); r.Code != 0 {
		return []string{fmt.Sprintf("%s is not whole: %v", s.target, r)}
	}
	found, err := stateOf(t, other)
	if err != nil {
		return []string{fmt.Sprintf("what %s holds is broken: %v", s.target, err)}
	}
	if len(args) == 3 && args[0] == "restore" {
		for table, digest := range o.after.facts {
			if found.facts[table] != digest {
				findings = append(findings, fmt.Sprintf("of %s, %s is another", s.target, table))
			}
		}
		for _, row := range o.before.meta["symbols"] {
			if !strings.Contains(strings.Join(found.meta["symbols"], "\n"), row) {
				findings = append(findings, fmt.Sprintf("%s lacks the symbol %s", s.target, row))
			}
		}
	}
	return findings
}
