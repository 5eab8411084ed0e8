//go:build linux && (amd64 || arm64)

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// disk is how many MiB the file systems of these tests have.
const disk = 24

func TestADiskThatFillsUpInStepsLosesNothingAndNothingIsSaidThatIsNotSo(t *testing.T) {
	steps := []int{0, 4, 12, 28, 60, 124, 252, 380, 508, 1020, 2044, 4092}
	each := soak.Count(t, 1, len(steps))
	random := soak.Random(t)
	var mu sync.Mutex
	hits := tally{}
	t.Run("of", func(t *testing.T) {
		for _, s := range scenarios() {
			s.small = true
			free := append([]int(nil), steps...)
			random.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
			t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				o, _ := s.oracle(t)
				for _, kib := range free[:each] {
					t.Run(fmt.Sprintf("%d-KiB", kib), func(t *testing.T) {
						l := onDisk(t, s)
						fill(t, l.Path("filler"), kib)
						r := l.Run(s.args...)
						findings := said(r)
						if r.Code == 0 {
							findings = append(findings, o.done(t, l, r)...)
						}
						// What looks works on a full disk, and what makes room does.
						for _, args := range [][]string{{"runs", "list"}, {"gc", "--yes"}} {
							looked := l.Run(args...)
							for _, f := range said(looked) {
								findings = append(findings, fmt.Sprintf("%s, by %v", f, looked))
							}
						}
						labtest.Must(t, os.Remove(l.Path("filler")))
						findings = append(findings, s.afterwards(t, l, o, r, true)...)
						mu.Lock()
						defer mu.Unlock()
						hits.add(s.name, fmt.Sprintf("%d KiB", kib))
						if len(findings) > 0 {
							t.Errorf("quant %s with %d KiB free:\n  %s\n%v", strings.Join(s.args, " "), kib, strings.Join(findings, "\n  "), r)
						}
					})
				}
			})
		}
	})
	t.Logf("full disks\n%s", hits.table())
}

// onDisk is the lab of a scenario on a file system of its own.
func onDisk(t *testing.T, s scenario) *labtest.Lab {
	t.Helper()
	l := s.stage(t)
	dir := filepath.Join(t.TempDir(), "disk")
	labtest.Must(t, os.Mkdir(dir, 0o700))
	if err := labtest.MountTiny(dir, disk); err != nil {
		labtest.CannotTry(t, "no file system of its own can be mounted: %v", err)
	}
	t.Cleanup(func() { labtest.Must(t, labtest.Unmount(dir)) })
	labtest.Must(t, os.CopyFS(dir, os.DirFS(l.Dir)))
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		labtest.Must(t, os.Chmod(filepath.Join(dir, "data"), 0o700))
	}
	l.Dir = dir
	if s.lab == littered {
		aged(t, l)
	}
	return l
}

// fill leaves so many KiB.
func fill(t *testing.T, path string, kib int) {
	t.Helper()
	var fs syscall.Statfs_t
	labtest.Must(t, syscall.Statfs(filepath.Dir(path), &fs))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	labtest.Must(t, err)
	defer f.Close()
	left := int64(fs.Bavail)*fs.Bsize - int64(kib)<<10
	for block := make([]byte, 4096); left >= 4096; left -= 4096 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnArchiveWithFlippedOrMissingBytesIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	each, random := soak.Count(t, 4, 120), soak.Random(t)
	for _, c := range []struct {
		name string
		lab  *labtest.Prepared
		file string
		args []string
	}{
		{"backup", backed, "old.tar", []string{"restore", "old.tar", "--yes"}},
		{"export", given, "runs.qrx", []string{"runs", "import", "runs.qrx"}},
	} {
		s := scenario{lab: c.lab, args: c.args}
		l := s.stage(t)
		before, err := stateOf(t, l)
		labtest.Must(t, err)
		whole, err := os.ReadFile(l.Path(c.file))
		labtest.Must(t, err)
		for range each {
			broken := append([]byte(nil), whole...)
			at := random.IntN(len(whole))
			what := fmt.Sprintf("%s flipped at %d of %d", c.name, at, len(whole))
			if random.IntN(3) == 0 {
				broken, what = broken[:at], fmt.Sprintf("%s cut to %d of %d", c.name, at, len(whole))
			} else {
				broken[at] ^= 1 << random.IntN(8)
			}
			t.Run(what, func(t *testing.T) {
				l := s.stage(t)
				l.Write(c.file, broken)
				r := l.Run(c.args...)
				for _, f := range said(r) {
					t.Errorf("%s: %v", f, r)
				}
				if r.Code == 0 {
					// What was hit says nothing, such as the padding of a tar: then all came.
					o := oracle{}
					undisturbed := s.stage(t)
					if o.after, err = stateOf(t, wrought(undisturbed, c.args)); err != nil {
						t.Fatal(err)
					}
					delete(o.after.files, c.file)
					if found := o.done(t, l, r); len(found) > 0 {
						t.Errorf("taken, and not whole: %v: %v", found, r)
					}
					return
				}
				now, err := stateOf(t, l)
				labtest.Must(t, err)
				delete(now.files, c.file)
				kept := oracle{before: before, after: before}
				delete(kept.before.files, c.file)
				if found := kept.judge(t, l, r, false); len(found) > 0 {
					t.Errorf("refused, and %v: %v", found, r)
				}
				if len(now.files) != len(kept.before.files) {
					t.Errorf("refused, and there are %d files, not %d: %v", len(now.files), len(kept.before.files), r)
				}
			})
		}
	}
}

func wrought(l *labtest.Lab, args []string) *labtest.Lab {
	l.Must(args...)
	return l
}
