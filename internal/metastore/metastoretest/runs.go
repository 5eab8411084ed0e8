package metastoretest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

func runTests() []test {
	ctx := context.Background()
	return []test{
		{"ACreatedRunReadsBackWithItsProcess", func(t *testing.T, s metastore.Store) {
			r, _ := newRun(1)
			r.Kind, r.ConfigJSON = "symbols.add", quant.JSON(`{"argv":["symbols","add","삼성"]}`)
			p := quant.RunProcess{
				RunID: r.RunID, Changes: true, ParentRunID: quant.Text(RunID(0)), Host: "h", User: "u", MachineID: "m", BootID: "b",
				PID: 1 << 40, ProcessStart: "123", BinaryVersion: "v1", BinaryCommit: "c-dirty", GitCommit: "g", GitDirty: pointer(false),
				Argv: quant.JSON(`["quant","--x=***"]`), WorkDir: "/tmp/에이 b", ExitCode: nil, DurationUS: nil,
			}
			ok(t, s.CreateRun(ctx, r, p))
			equal(t, one(s.GetRun(ctx, r.RunID))(t), metastore.RunDetail{Run: r, Process: p})

			bare, process := newRun(2)
			process.Changes, process.PID = false, 0
			ok(t, s.CreateRun(ctx, bare, process))
			equal(t, one(s.GetRun(ctx, bare.RunID))(t), metastore.RunDetail{Run: bare, Process: process})
		}},
		{"AnExistingRunIsAConflictAndStaysAsItWas", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			r, p := newRun(1)
			r.Kind = "other"
			refused(t, s.CreateRun(ctx, r, p), quant.Conflict)
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Kind, "config")
		}},
		{"ABadRunIsInvalidAndLeavesNothing", func(t *testing.T, s metastore.Store) {
			for name, breakIt := range map[string]func(*quant.Run, *quant.RunProcess){
				"no id":             func(r *quant.Run, p *quant.RunProcess) { r.RunID, p.RunID = "", "" },
				"version 4":         func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0de-0000-4000-8000-000000000001") },
				"no variant":        func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0de-0000-7000-0000-000000000001") },
				"upper case":        func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019BC0DE-0000-7000-8000-000000000001") },
				"no hyphens":        func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0de000070008000000000000001") },
				"not hexadecimal":   func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0dg-0000-7000-8000-000000000001") },
				"too many hyphens":  func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0d--0000-7000-8000-000000000001") },
				"something after":   func(r *quant.Run, p *quant.RunProcess) { id(r, p, "019bc0de-0000-7000-8000-000000000001\x00") },
				"another's process": func(_ *quant.Run, p *quant.RunProcess) { p.RunID = RunID(2) },
				"no kind":           func(r *quant.Run, _ *quant.RunProcess) { r.Kind = "" },
				"blank kind":        func(r *quant.Run, _ *quant.RunProcess) { r.Kind = " " },
				"no start":          func(r *quant.Run, _ *quant.RunProcess) { r.StartedAt = quant.Time{} },
				"bad status":        func(r *quant.Run, _ *quant.RunProcess) { r.Status = "DONE" },
				"no status":         func(r *quant.Run, _ *quant.RunProcess) { r.Status = "" },
				"ended already":     func(r *quant.Run, _ *quant.RunProcess) { r.Status, r.EndedAt = quant.Success, startedAt(2) },
				"an end":            func(r *quant.Run, _ *quant.RunProcess) { r.EndedAt = startedAt(2) },
				"an error":          func(r *quant.Run, _ *quant.RunProcess) { r.ErrorText = "x" },
				"bad config":        func(r *quant.Run, _ *quant.RunProcess) { r.ConfigJSON = quant.JSON("{") },
				"bad argv":          func(_ *quant.Run, p *quant.RunProcess) { p.Argv = quant.JSON("[") },
			} {
				r, p := newRun(1)
				breakIt(&r, &p)
				if code := quant.CodeOf(s.CreateRun(ctx, r, p)); code != quant.Invalid {
					t.Errorf("%s: code %q, want invalid", name, code)
				}
			}
			equal(t, len(one(s.ListRuns(ctx, metastore.RunFilter{All: true}))(t)), 0)
		}},
		{"RunningRunsOfAMachineAreFoundAndClosedTogether", func(t *testing.T, s metastore.Store) {
			ids := func(list []metastore.RunDetail) (ids []string) {
				for _, r := range list {
					ids = append(ids, r.RunID)
				}
				return ids
			}
			for n := 1; n <= 6; n++ {
				createRun(t, s, n, func(r *quant.Run, p *quant.RunProcess) {
					p.MachineID, p.Argv = "here", quant.JSON(`["quant"]`)
					if n == 4 {
						p.MachineID = "elsewhere"
					}
				})
			}
			ok(t, s.FinishRun(ctx, metastore.RunEnd{RunID: RunID(5), Status: quant.Success, EndedAt: startedAt(9), ExitCode: pointer(int64(0))}))
			all := one(s.RunningOn(ctx, "here", "", 0))(t)
			equal(t, ids(all), []string{RunID(6), RunID(3), RunID(2), RunID(1)})
			equal(t, all[0].Process.Argv, nil)
			equal(t, ids(one(s.RunningOn(ctx, "here", RunID(6), 2))(t)), []string{RunID(3), RunID(2)})
			equal(t, one(s.CountRunningOn(ctx, "here"))(t), 4)
			equal(t, one(s.CountRunningOn(ctx, "nowhere"))(t), 0)

			ok(t, s.SaveProgram(ctx, quant.Program{RunID: RunID(2), Path: "p"}))
			programs := one(s.ProgramsOf(ctx, []string{RunID(1), RunID(2), RunID(9)}))(t)
			equal(t, len(programs), 1)
			equal(t, programs[0].RunID, RunID(2))

			end := metastore.RunEnd{Status: quant.Fail, EndedAt: startedAt(9), ErrorText: "gone", Facts: quant.FactsNone}
			closed := one(s.FinishRuns(ctx, []string{RunID(1), RunID(2), RunID(4), RunID(5), RunID(9)}, end))(t)
			slices.Sort(closed)
			equal(t, closed, []string{RunID(1), RunID(2), RunID(4)})
			equal(t, len(one(s.FinishRuns(ctx, []string{RunID(1)}, end))(t)), 0)
			equal(t, one(s.GetRun(ctx, RunID(5)))(t).Status, quant.Success)
			one := one(s.GetRun(ctx, RunID(1)))(t)
			equal(t, one.Status, quant.Fail)
			equal(t, one.ErrorText, "gone")
			equal(t, one.Process.Facts, quant.FactsNone)
			left, err := s.RunningOn(ctx, "here", "", 0)
			ok(t, err)
			equal(t, ids(left), []string{RunID(6), RunID(3)})

			end.RunID = RunID(3)
			_, err = s.FinishRuns(ctx, []string{RunID(3)}, end)
			refused(t, err, quant.Invalid)
			_, err = s.RunningOn(ctx, "here", "", -1)
			refused(t, err, quant.Invalid)
		}},
		{"TheConfigOfARunningRunIsReplaced", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			ok(t, s.UpdateRunConfig(ctx, RunID(1), quant.JSON(`{"a":1}`), metastore.Batch{}))
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).ConfigJSON, quant.JSON(`{"a":1}`))
			refused(t, s.UpdateRunConfig(ctx, RunID(1), quant.JSON(`{"a"`), metastore.Batch{}), quant.Invalid)
			refused(t, s.UpdateRunConfig(ctx, RunID(9), quant.JSON(`{}`), metastore.Batch{}), quant.NotFound)
			tag := metastore.Batch{Tags: []quant.Tag{{RunID: RunID(1), Name: "t", Value: "v"}}}
			ok(t, s.UpdateRunConfig(ctx, RunID(1), quant.JSON(`{"a":1}`), tag))
			equal(t, len(one(s.Tags(ctx, RunID(1)))(t)), 1)
			conflict := metastore.Batch{Params: []quant.Param{{RunID: RunID(1), Name: "p", Value: "1"}, {RunID: RunID(1), Name: "p", Value: "2"}}}
			refused(t, s.UpdateRunConfig(ctx, RunID(1), quant.JSON(`{"a":3}`), conflict), quant.Conflict)
			equal(t, len(one(s.Params(ctx, RunID(1)))(t)), 0)
			ok(t, s.FinishRun(ctx, successOf(1)))
			refused(t, s.UpdateRunConfig(ctx, RunID(1), quant.JSON(`{"a":2}`), metastore.Batch{}), quant.Conflict)
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).ConfigJSON, quant.JSON(`{"a":1}`))
		}},
		{"AFinishedRunKeepsHowItEnded", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, func(_ *quant.Run, p *quant.RunProcess) { p.GitDirty = pointer(true) })
			end := successOf(1)
			end.ExitCode, end.DurationUS, end.GitDirty = pointer(int64(0)), pointer(int64(41_000)), pointer(false)
			ok(t, s.FinishRun(ctx, end))
			got := one(s.GetRun(ctx, RunID(1)))(t)
			equal(t, got.Status, quant.Success)
			equal(t, got.EndedAt, end.EndedAt)
			equal(t, got.ErrorText, "")
			equal(t, got.Process.ExitCode, end.ExitCode)
			equal(t, got.Process.DurationUS, end.DurationUS)
			equal(t, got.Process.GitDirty, end.GitDirty)

			createRun(t, s, 2, func(_ *quant.Run, p *quant.RunProcess) { p.GitDirty = pointer(true) })
			ok(t, s.FinishRun(ctx, failOf(2, "panic: \x00 'quoted' 널\n\tat line 1")))
			got = one(s.GetRun(ctx, RunID(2)))(t)
			equal(t, got.Status, quant.Fail)
			if got.ErrorText != "panic: \x00 'quoted' 널\n\tat line 1" {
				t.Fatalf("error text came back as %q", got.ErrorText)
			}
			equal(t, got.Process.ExitCode, nil)
			equal(t, got.Process.GitDirty, pointer(true))
		}},
		{"TextsComeBackAsTheyWereGiven", func(t *testing.T, s metastore.Store) {
			for i, text := range unusual() {
				createRun(t, s, i, func(_ *quant.Run, p *quant.RunProcess) {
					p.Host, p.WorkDir, p.User = quant.Text(text), quant.Text(text), quant.Text(text)
				})
				end := failOf(i, text)
				end.Program = &quant.Program{RunID: RunID(i), Path: quant.Text(text)}
				ok(t, s.FinishRun(ctx, end))
				d := one(s.GetRun(ctx, RunID(i)))(t)
				program := one(s.GetProgram(ctx, RunID(i)))(t)
				for _, got := range []quant.Text{d.ErrorText, d.Process.Host, d.Process.WorkDir, d.Process.User, program.Path} {
					if string(got) != text {
						t.Errorf("%.60q comes back as %.60q", text, string(got))
					}
				}
			}
		}},
		{"ARunEndsOnce", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			first := successOf(1)
			first.IO = []quant.RunIO{{RunID: RunID(1), Direction: quant.In, Kind: quant.IOFile, Name: "a"}}
			ok(t, s.FinishRun(ctx, first))
			before := one(s.GetRun(ctx, RunID(1)))(t)
			again := failOf(1, "second")
			again.ExitCode = pointer(int64(9))
			again.IO = []quant.RunIO{{RunID: RunID(1), Direction: quant.In, Kind: quant.IOFile, Name: "b"}}
			refused(t, s.FinishRun(ctx, again), quant.Conflict)
			refused(t, s.FinishRun(ctx, first), quant.Conflict)
			equal(t, one(s.GetRun(ctx, RunID(1)))(t), before)
			equal(t, one(s.RunIO(ctx, RunID(1)))(t), first.IO)
		}},
		{"AnUnknownRunIsNotFound", func(t *testing.T, s metastore.Store) {
			refused(t, s.FinishRun(ctx, successOf(1)), quant.NotFound)
			refused(t, s.SettleFacts(ctx, RunID(1), quant.FactsNone, "x"), quant.NotFound)
			for _, id := range []string{RunID(1), "", "' OR 1=1 --", "\x00"} {
				_, err := s.GetRun(ctx, id)
				refused(t, err, quant.NotFound)
			}
			equal(t, len(one(s.RunIO(ctx, RunID(1)))(t)), 0)
		}},
		{"ABadEndIsInvalidAndTheRunGoesOn", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			io := quant.RunIO{RunID: RunID(1), Direction: quant.In, Kind: quant.IOFile, Name: "a"}
			for name, breakIt := range map[string]func(*metastore.RunEnd){
				"running":            func(e *metastore.RunEnd) { e.Status = quant.Running },
				"no status":          func(e *metastore.RunEnd) { e.Status = "" },
				"no end":             func(e *metastore.RunEnd) { e.EndedAt = quant.Time{} },
				"success with text":  func(e *metastore.RunEnd) { e.ErrorText = "x" },
				"success with facts": func(e *metastore.RunEnd) { e.Facts = quant.FactsNone },
				"unknown facts":      func(e *metastore.RunEnd) { e.Status, e.ErrorText, e.Facts = quant.Fail, "x", "perhaps" },
				"fail without text":  func(e *metastore.RunEnd) { e.Status = quant.Fail },
				"another's io":       func(e *metastore.RunEnd) { o := io; o.RunID = RunID(2); e.IO = []quant.RunIO{o} },
				"bad direction":      func(e *metastore.RunEnd) { o := io; o.Direction = "both"; e.IO = []quant.RunIO{o} },
				"no io name":         func(e *metastore.RunEnd) { o := io; o.Name = ""; e.IO = []quant.RunIO{o} },
				"no io kind":         func(e *metastore.RunEnd) { o := io; o.Kind = ""; e.IO = []quant.RunIO{o} },
				"bad io date":        func(e *metastore.RunEnd) { o := io; o.FirstDate = "2024-02-30"; e.IO = []quant.RunIO{o} },
				"the same io twice":  func(e *metastore.RunEnd) { e.IO = []quant.RunIO{io, io} },
			} {
				end := successOf(1)
				breakIt(&end)
				if code := quant.CodeOf(s.FinishRun(ctx, end)); code != quant.Invalid {
					t.Errorf("%s: code %q, want invalid", name, code)
				}
			}
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Status, quant.Running)
			equal(t, len(one(s.RunIO(ctx, RunID(1)))(t)), 0)
			ok(t, s.FinishRun(ctx, successOf(1)))
		}},
		{"TheFactsOfAFailAreSettledAndOnlyOfAFail", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			refused(t, s.SettleFacts(ctx, RunID(1), quant.FactsCommitted, "x"), quant.Conflict)
			end := failOf(1, "it broke; facts not checked")
			end.Facts = quant.FactsNotChecked
			ok(t, s.FinishRun(ctx, end))
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Process.Facts, quant.FactsNotChecked)
			refused(t, s.SettleFacts(ctx, RunID(1), quant.FactsCommitted, ""), quant.Invalid)
			refused(t, s.SettleFacts(ctx, RunID(1), "perhaps", "x"), quant.Invalid)
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Process.Facts, quant.FactsNotChecked)
			ok(t, s.SettleFacts(ctx, RunID(1), quant.FactsCommitted, "it broke; facts committed"))
			got := one(s.GetRun(ctx, RunID(1)))(t)
			equal(t, got.ErrorText, "it broke; facts committed")
			equal(t, got.Process.Facts, quant.FactsCommitted)
			createRun(t, s, 2, nil)
			ok(t, s.FinishRun(ctx, successOf(2)))
			refused(t, s.SettleFacts(ctx, RunID(2), quant.FactsCommitted, "x"), quant.Conflict)
			equal(t, one(s.GetRun(ctx, RunID(2)))(t).Process.Facts, quant.Facts(""))
		}},
		{"TheWordsOfATextSayNothingOfFacts", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			ok(t, s.FinishRun(ctx, failOf(1, "it broke; facts committed")))
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Process.Facts, quant.Facts(""))
		}},
		{"InputsAndOutputsComeInTheirOrder", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			createRun(t, s, 2, nil)
			mk := func(d quant.Direction, kind, name string) quant.RunIO {
				return quant.RunIO{RunID: RunID(1), Direction: d, Kind: kind, Name: name}
			}
			rich := mk(quant.Out, "table", "ohlcv")
			rich.Rows, rich.FirstDate, rich.LastDate = pointer(int64(12)), "2020-01-02", "2020-02-29"
			rich.Digest = quant.Text("sha256:" + strings.Repeat("0f", 32))
			want := []quant.RunIO{
				mk(quant.In, "backup", "z"), mk(quant.In, "file", "a b'c.csv"), mk(quant.In, "file", "한글.csv"), mk(quant.Out, "file", "a b'c.csv"), rich,
			}
			end := successOf(1)
			end.IO = []quant.RunIO{want[4], want[2], want[3], want[0], want[1]}
			ok(t, s.FinishRun(ctx, end))
			equal(t, one(s.RunIO(ctx, RunID(1)))(t), want)
			equal(t, len(one(s.RunIO(ctx, RunID(2)))(t)), 0)
		}},
		{"TheOutputsOfAKindAreThoseOfAllRunsNewestFirst", func(t *testing.T, s metastore.Store) {
			out := func(n int, d quant.Direction, kind, name string) quant.RunIO {
				return quant.RunIO{RunID: RunID(n), Direction: d, Kind: kind, Name: name, Rows: pointer(int64(n))}
			}
			for n := 1; n <= 3; n++ {
				createRun(t, s, n, nil)
				end := successOf(n)
				end.IO = []quant.RunIO{out(n, quant.Out, "table", "b"), out(n, quant.Out, "table", "a"), out(n, quant.In, "table", "c"), out(n, quant.Out, "file", "d")}
				ok(t, s.FinishRun(ctx, end))
			}
			equal(t, one(s.ListOutputs(ctx, "table"))(t), []quant.RunIO{
				out(3, quant.Out, "table", "a"), out(3, quant.Out, "table", "b"), out(2, quant.Out, "table", "a"),
				out(2, quant.Out, "table", "b"), out(1, quant.Out, "table", "a"), out(1, quant.Out, "table", "b"),
			})
			equal(t, len(one(s.ListOutputs(ctx, "backup"))(t)), 0)
		}},
		{"ClaimsAreOfTheRunsThatSayTheyChangedTablesAndOfThoseThatFailed", func(t *testing.T, s metastore.Store) {
			for n := 1; n <= 6; n++ {
				createRun(t, s, n, func(_ *quant.Run, p *quant.RunProcess) { p.Changes = n != 4 })
				end := successOf(n)
				switch n {
				case 2, 4:
					end.IO = []quant.RunIO{
						{RunID: RunID(n), Direction: quant.Out, Kind: quant.IOTable, Name: "b", Rows: pointer(int64(1))},
						{RunID: RunID(n), Direction: quant.Out, Kind: quant.IOTable, Name: "a", Rows: pointer(int64(2))},
						{RunID: RunID(n), Direction: quant.Out, Kind: quant.IOTable, Name: "none", Rows: pointer(int64(0))},
						{RunID: RunID(n), Direction: quant.In, Kind: quant.IOTable, Name: "read", Rows: pointer(int64(2))},
					}
				case 3:
					end.Status, end.ErrorText, end.Facts = quant.Fail, "it broke; facts not checked", quant.FactsNotChecked
				case 5:
					end.Status, end.ErrorText = quant.Fail, "it said nothing of facts"
				case 6:
					end.Status, end.ErrorText, end.Facts = quant.Fail, "it broke; no facts committed", quant.FactsNone
				}
				ok(t, s.FinishRun(ctx, end))
			}
			one(s.DeleteRuns(ctx, []quant.Deletion{{RunID: RunID(2), DeletedAt: startedAt(3600)}}))(t)
			var claims []metastore.Claim
			ok(t, s.EachClaim(ctx, func(c metastore.Claim) error {
				c.Kind = ""
				claims = append(claims, c)
				return nil
			}))
			equal(t, claims, []metastore.Claim{
				{RunID: RunID(6), Status: quant.Fail, Facts: quant.FactsNone, Changes: true, Tables: []string{}},
				{RunID: RunID(4), Status: quant.Success, Tables: []string{"a", "b"}},
				{RunID: RunID(3), Status: quant.Fail, Facts: quant.FactsNotChecked, ErrorText: "it broke; facts not checked", Changes: true, Tables: []string{}},
				{RunID: RunID(2), Status: quant.Success, Changes: true, Tables: []string{"a", "b"}},
			})
			stop := errors.New("stop")
			if err := s.EachClaim(ctx, func(metastore.Claim) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("%v", err)
			}
		}},
		{"ABriefListLacksOnlyTheDocuments", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, func(r *quant.Run, p *quant.RunProcess) {
				r.ConfigJSON, p.Argv = quant.JSON(`{"a":1}`), quant.JSON(`["quant"]`)
			})
			want := one(s.ListRuns(ctx, metastore.RunFilter{}))(t)
			want[0].ConfigJSON, want[0].Process.Argv = nil, nil
			equal(t, one(s.ListRuns(ctx, metastore.RunFilter{Brief: true}))(t), want)
		}},
		{"AListIsNewestFirstAndFiltered", listsRuns},
		{"ABadFilterIsInvalid", func(t *testing.T, s metastore.Store) {
			_, err := s.ListRuns(ctx, metastore.RunFilter{Status: "DONE"})
			refused(t, err, quant.Invalid)
			_, err = s.ListRuns(ctx, metastore.RunFilter{Limit: -1})
			refused(t, err, quant.Invalid)
		}},
		{"ARunIsFoundByItsBeginningOrItsEnd", resolvesRuns},
		{"ManyGoroutinesRecordRunsAtOnce", func(t *testing.T, s metastore.Store) {
			const workers, each = 8, 25
			errs := make(chan error, workers*each)
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					for i := range each {
						n := w*each + i
						r, p := newRun(n)
						errs <- errors.Join(s.CreateRun(ctx, r, p), s.UpdateRunConfig(ctx, r.RunID, quant.JSON(`{}`), metastore.Batch{}), s.FinishRun(ctx, successOf(n)))
						_, err := s.ListRuns(ctx, metastore.RunFilter{Limit: 3})
						errs <- err
					}
				})
			}
			go func() { all.Wait(); close(errs) }()
			for err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			equal(t, len(one(s.ListRuns(ctx, metastore.RunFilter{Status: quant.Success}))(t)), workers*each)
		}},
		{"OfManyThatFinishARunOneSucceeds", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			errs := make(chan error)
			for range 8 {
				go func() { errs <- s.FinishRun(ctx, successOf(1)) }()
			}
			done := 0
			for range 8 {
				if err := <-errs; err == nil {
					done++
				} else if !errors.Is(err, quant.Conflict) {
					t.Error(err)
				}
			}
			equal(t, done, 1)
		}},
	}
}

func id(r *quant.Run, p *quant.RunProcess, id string) { r.RunID, p.RunID = id, id }

func listsRuns(t *testing.T, s metastore.Store) {
	ctx := context.Background()
	// n: kind, changes, parent, status
	for n, r := range []struct {
		kind    string
		changes bool
		parent  quant.Text
		status  quant.Status
	}{
		0: {"ingest", true, "", quant.Success},
		1: {"config", false, "", quant.Success},
		2: {"ingest", true, quant.Text(RunID(0)), quant.Fail},
		3: {"sql", false, quant.Text(RunID(0)), quant.Fail},
		4: {"init-db", true, "", quant.Running},
		5: {"runs.list", false, "", quant.Running},
	} {
		createRun(t, s, n, func(run *quant.Run, p *quant.RunProcess) {
			run.Kind, p.Changes, p.ParentRunID = r.kind, r.changes, r.parent
		})
		switch r.status {
		case quant.Success:
			ok(t, s.FinishRun(ctx, successOf(n)))
		case quant.Fail:
			ok(t, s.FinishRun(ctx, failOf(n, "x")))
		}
	}
	for _, tt := range []struct {
		filter metastore.RunFilter
		want   []int
	}{
		{metastore.RunFilter{}, []int{4, 2, 0}},
		{metastore.RunFilter{All: true}, []int{5, 4, 3, 2, 1, 0}},
		{metastore.RunFilter{All: true, Limit: 2}, []int{5, 4}},
		{metastore.RunFilter{Limit: 2}, []int{4, 2}},
		{metastore.RunFilter{Kind: "ingest"}, []int{2, 0}},
		{metastore.RunFilter{Kind: "config"}, nil},
		{metastore.RunFilter{Kind: "config", All: true}, []int{1}},
		{metastore.RunFilter{Kind: "inges_", All: true}, nil},
		{metastore.RunFilter{Status: quant.Running}, []int{4}},
		{metastore.RunFilter{Status: quant.Running, All: true}, []int{5, 4}},
		{metastore.RunFilter{Status: quant.Success, All: true}, []int{1, 0}},
		{metastore.RunFilter{Status: quant.Fail}, []int{2}},
		{metastore.RunFilter{Since: startedAt(3)}, []int{4}},
		{metastore.RunFilter{Since: startedAt(3), All: true}, []int{5, 4, 3}},
		{metastore.RunFilter{Since: quant.NewTime(startedAt(3).Add(time.Microsecond)), All: true}, []int{5, 4}},
		{metastore.RunFilter{Since: startedAt(100), All: true}, nil},
		{metastore.RunFilter{Since: quant.NewTime(time.Unix(0, 0)), All: true}, []int{5, 4, 3, 2, 1, 0}},
		{metastore.RunFilter{Since: quant.NewTime(time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)), All: true, Limit: 1}, []int{5}},
		{metastore.RunFilter{Parent: RunID(0)}, []int{2}},
		{metastore.RunFilter{Parent: RunID(0), All: true}, []int{3, 2}},
		{metastore.RunFilter{Parent: RunID(9), All: true}, nil},
		{metastore.RunFilter{Except: RunID(4)}, []int{2, 0}},
		{metastore.RunFilter{Except: RunID(5), All: true, Limit: 1}, []int{4}},
		{metastore.RunFilter{Kind: "ingest", Status: quant.Fail}, []int{2}},
		{metastore.RunFilter{Kind: "init-db", Status: quant.Running}, []int{4}},
		{metastore.RunFilter{Kind: "ingest", Status: quant.Fail, Parent: RunID(0), Since: startedAt(1), Except: RunID(1), Limit: 9}, []int{2}},
		{metastore.RunFilter{Kind: "ingest", Status: quant.Running, All: true}, nil},
	} {
		var want []string
		for _, n := range tt.want {
			want = append(want, RunID(n))
		}
		var got []string
		for _, r := range one(s.ListRuns(ctx, tt.filter))(t) {
			got = append(got, r.RunID)
			equal(t, r, one(s.GetRun(ctx, r.RunID))(t))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%+v:\ngot  %v\nwant %v", tt.filter, got, want)
		}
	}
}

func resolvesRuns(t *testing.T, s metastore.Store) {
	ctx := context.Background()
	// The digits of the first three fields are a clock, those of the last a number.
	ids := []string{
		"019bc0de-0001-7000-8000-00000000abcd",
		"019bc0de-0002-7000-8000-00000001abcd",
		"019bc0de-0003-7000-8000-00000002abcd",
		"019bc0de-0004-7000-8000-00000003abcd",
		"019bffff-0001-7000-8000-0000019bffff",
		"01aaaaaa-0001-7000-8000-000000001234",
	}
	for _, run := range ids {
		createRun(t, s, 0, func(r *quant.Run, p *quant.RunProcess) { id(r, p, run) })
	}
	for _, tt := range []struct {
		ref  string
		want []string
	}{
		{ids[0], ids[:1]},
		{"019bc0de-0001", ids[:1]},
		{"019bc0de", []string{ids[3], ids[2], ids[1]}},
		{"01", []string{ids[5], ids[4], ids[3]}},
		{"01a", ids[5:]},
		{"1234", ids[5:]},
		{"00001234", ids[5:]},
		{"234", nil}, // an end has at least 4 characters
		{"abcd", []string{ids[3], ids[2], ids[1]}},
		{"2abcd", ids[2:3]},
		{"8000-00000001abcd", ids[1:2]},
		{"019bffff", ids[4:5]}, // begins and ends with it: once
		{"ffff", ids[4:5]},
		{"dead", nil},
		{"", nil},
		{"%", nil}, {"*", nil}, {"____", nil}, {"????", nil}, {"[0-9]", nil}, {"' OR 1=1 --", nil},
		{"019BC0DE", nil}, {"01\x00", nil}, {"last", nil},
		{ids[0] + "0", nil},
		{"019bc0de-0001-7000-8000-00000000abce", nil},
		{"g", nil}, {"-", nil}, {"----", nil},
	} {
		got := one(s.ResolveRun(ctx, tt.ref))(t)
		if strings.Join(got, " ") != strings.Join(tt.want, " ") {
			t.Errorf("%q:\ngot  %v\nwant %v", tt.ref, got, tt.want)
		}
	}
}
