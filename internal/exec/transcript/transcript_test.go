package transcript

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/secret"
)

func create(t testing.TB, size int64, mask *secret.Masker) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logs", "run.log")
	w, err := Create(path, size, mask)
	if err != nil {
		t.Fatal(err)
	}
	return w, path
}

func read(t testing.TB, path string, lines int) (text string, cut int64) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	if err := r.Copy(&b, lines); err != nil {
		t.Fatal(err)
	}
	return b.String(), r.Cut()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	w, path := create(t, 1<<20, &secret.Masker{})
	in := w.Input()
	text := "a line\nbinary \x00\xff\r\nwithout end"
	for i := range text {
		_, _ = in.Write([]byte(text[i : i+1]))
	}
	if got, _ := read(t, path, -1); got != "a line\nbinary \x00\xff\r\n" {
		t.Errorf("before the end: %q", got)
	}
	if seen, cut := w.Close(); seen != int64(len(text)) || cut != 0 {
		t.Errorf("%d %d", seen, cut)
	}
	for lines, want := range map[int]string{-1: text, 0: "", 1: "without end", 2: "binary \x00\xff\r\nwithout end", 3: text, 9: text} {
		if got, _ := read(t, path, lines); got != want {
			t.Errorf("%d lines: %q", lines, got)
		}
	}
}

func TestTwoStreamsDoNotTearEachOthersLines(t *testing.T) {
	t.Parallel()
	w, path := create(t, 1<<20, &secret.Masker{})
	out, errs := w.Input(), w.Input()
	_, _ = out.Write([]byte("aaa"))
	_, _ = errs.Write([]byte("eee\n"))
	_, _ = out.Write([]byte("bbb\n"))
	w.Close()
	if got, _ := read(t, path, -1); got != "eee\naaabbb\n" {
		t.Errorf("%q", got)
	}
}

// A writer that was killed has closed nothing.
func TestALogWhoseWriterWasKilledReadsWell(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, MinSize, 64 << 10, 256 << 10} {
		w, path := create(t, size, &secret.Masker{})
		in := w.Input()
		var whole strings.Builder
		for i := range 40_000 {
			line := fmt.Sprintf("%d\n", i)
			whole.WriteString(line)
			_, _ = in.Write([]byte(line))
			if i%9973 == 0 {
				wantCut(t, path, whole.String())
			}
		}
		wantCut(t, path, whole.String())
		w.Close()
		wantCut(t, path, whole.String())
		if info, err := os.Stat(path); err != nil || info.Size() > headerSize+size {
			t.Errorf("%d bytes for %d: %v", info.Size(), size, err)
		}
	}
}

// wantCut checks that a log is the head and the tail of a text, with what is
// missing between them counted.
func wantCut(t *testing.T, path, whole string) {
	t.Helper()
	got, cut := read(t, path, -1)
	if cut == 0 {
		if got != whole {
			t.Fatalf("%d bytes of %d", len(got), len(whole))
		}
		return
	}
	mark := fmt.Sprintf("[quant: %d bytes of output are not kept]\n", cut)
	head, tail, found := strings.Cut(got, mark)
	if !found {
		t.Fatalf("no %q", mark)
	}
	if len(head)+len(tail)+int(cut) != len(whole) {
		head = strings.TrimSuffix(head, "\n") // it did not end in a line
	}
	if !strings.HasPrefix(whole, head) || !strings.HasSuffix(whole, tail) || len(head)+len(tail)+int(cut) != len(whole) {
		t.Fatalf("%d + %d + %d bytes of %d", len(head), cut, len(tail), len(whole))
	}
}

func TestASecretIsMaskedHoweverItIsSplit(t *testing.T) {
	t.Parallel()
	text := "x canary-1 y\npassword=hunter22 z\n" + strings.Repeat("-", 3*longLine) + "canary-1" + strings.Repeat("-", longLine) + "\nmulti: first-canary-line end\nsecond-canary-line\ncanary-1"
	want := ""
	for _, step := range []int{1 << 30, 1, 3, 7, 4096, longLine - 1} {
		var mask secret.Masker
		mask.Know("canary-1", "first-canary-line\nsecond-canary-line")
		w, path := create(t, 4<<20, &mask)
		in := w.Input()
		for rest := []byte(text); len(rest) > 0; {
			n := min(step, len(rest))
			_, _ = in.Write(rest[:n])
			rest = rest[n:]
		}
		w.Close()
		got, _ := read(t, path, -1)
		if want == "" {
			want = got
		}
		if strings.Contains(got, "canary") || strings.Contains(got, "hunter22") || got != want {
			t.Errorf("in steps of %d: %.80q", step, got)
		}
	}
}

func FuzzALogIsHeadAndTailOfWhatWasPrinted(f *testing.F) {
	f.Add([]byte("hello\nworld"), uint16(3), uint16(9), false)
	f.Add(bytes.Repeat([]byte("0123456789\n"), 300), uint16(700), uint16(100), true)
	f.Fuzz(func(t *testing.T, text []byte, head, ring uint16, closed bool) {
		w, path := create(t, 0, &secret.Masker{})
		w.h.head, w.h.ring = int64(head%2048), int64(ring%2048)
		in := w.Input()
		for rest := text; len(rest) > 0; {
			n := min(1+int(rest[0]), len(rest))
			w.mu.Lock()
			w.write(rest[:n]) // past the masking, which changes texts
			w.mu.Unlock()
			rest = rest[n:]
		}
		_ = in
		if closed {
			w.Close()
		}
		wantCut(t, path, string(text))
		for _, lines := range []int{0, 1, 2, 100} {
			if got, _ := read(t, path, lines); strings.Count(strings.TrimSuffix(got, "\n"), "\n") > lines+2 {
				t.Fatalf("%d lines: %q", lines, got)
			}
		}
	})
}

func FuzzAFileThatIsNoLogIsRefused(f *testing.F) {
	f.Add([]byte("quant transcript 1 head=1 ring=2 total=3 kept=4 closed=true"))
	f.Add(header{head: 5, ring: 5, total: 20, kept: 20}.line())
	f.Add(append(header{head: 4, ring: 4, total: 1 << 40, kept: 1 << 40, closed: true}.line(), "abcdefgh"...))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "x.log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		_ = r.Copy(io.Discard, -1)
		_ = r.Copy(io.Discard, 3)
	})
}

func TestADiskThatTakesNoMoreIsNoTroubleForTheProgram(t *testing.T) {
	t.Parallel()
	w, path := create(t, 1<<20, &secret.Masker{})
	in := w.Input()
	_, _ = in.Write([]byte("kept\n"))
	w.f.Close() // as good as full
	if n, err := in.Write([]byte("lost\n")); n != 5 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if seen, cut := w.Close(); seen != 10 || cut != 5 {
		t.Errorf("%d %d", seen, cut)
	}
	if got, _ := read(t, path, -1); got != "kept\n" {
		t.Errorf("%q", got)
	}
	if w, err := Create(filepath.Join(path, "x.log"), 1<<20, &secret.Masker{}); quant.CodeOf(err) != quant.Store {
		t.Errorf("%v", err)
	} else {
		_, _ = w.Input().Write([]byte("abc"))
		if seen, cut := w.Close(); seen != 3 || cut != 3 {
			t.Errorf("%d %d", seen, cut)
		}
	}
	if _, err := Create(path, 1, &secret.Masker{}); quant.CodeOf(err) != quant.Store {
		t.Errorf("a log that is there was taken: %v", err)
	}
	if _, err := Open(filepath.Join(filepath.Dir(path), "none.log")); !errors.Is(err, quant.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestAFollowerSeesEverythingOnceOrIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	w, path := create(t, 128<<10, &secret.Masker{})
	in := w.Input()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got strings.Builder
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		err := r.Follow(context.Background(), &got, -1, time.Microsecond, func(context.Context) (bool, error) {
			select {
			case <-done:
				return true, nil
			default:
				return false, nil
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	// Lines of one width: a part of one is seen to be a part, and stands only
	// beside a gap.
	const n, width = 100_000, 8
	for i := range n {
		_, _ = fmt.Fprintf(in, "%0*d\n", width, i)
	}
	w.Close()
	close(done)
	following.Wait()
	missed := regexp.MustCompile(`^\[quant: \d+ bytes of output are not kept\]$`)
	lines := strings.Split(strings.TrimSuffix(got.String(), "\n"), "\n")
	isGap := func(i int) bool { return i >= 0 && i < len(lines) && missed.MatchString(lines[i]) }
	last, gap := -1, false
	for i, line := range lines {
		if isGap(i) {
			gap = true
			continue
		}
		if len(line) < width && (isGap(i-1) || isGap(i+1)) {
			continue
		}
		number, err := strconv.Atoi(line)
		if err != nil || len(line) != width {
			t.Fatalf("line %d is %q", i, line)
		}
		if number <= last || number != last+1 && !gap {
			t.Fatalf("%d comes after %d, with a gap between them: %v", number, last, gap)
		}
		last, gap = number, false
	}
	if !strings.HasSuffix(got.String(), fmt.Sprintf("\n%0*d\n", width, n-1)) {
		t.Errorf("the end is missing: %q", got.String()[max(0, got.Len()-40):])
	}
}

func FuzzNothingOnAScreenRewritesIt(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\x1b[2J\x1b]0;t\x07\rx\x9b\xc2\x9b"), 3, true)
	f.Add([]byte("\x1b[38;2;1;2;3m\x1b[K\x1b[1;1Hx\r\n"), 1, false)
	colour := regexp.MustCompile(`\x1b\[[0-9;:]*m`)
	f.Fuzz(func(t *testing.T, text []byte, step int, colours bool) {
		var b bytes.Buffer
		s := &Screen{W: &b, Colour: colours}
		step = max(1, step%64)
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if colours {
			got = colour.ReplaceAllString(got, "")
		}
		for _, r := range got {
			if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
				t.Fatalf("%q shows as %q", text, b.String())
			}
		}
	})
}

func TestATranscriptLeavesRoomToOthersAndKnowsItsLastLine(t *testing.T) {
	t.Parallel()
	w, err := Create(filepath.Join(t.TempDir(), "log"), 1<<20, &secret.Masker{})
	if err != nil {
		t.Fatal(err)
	}
	one, two := w.Input(), w.Input()
	_, _ = one.Write([]byte("first\n"))
	w.Leave(1 << 60)
	_, _ = one.Write([]byte("second\n"))
	_, _ = two.Write([]byte("\x1b[31mbo\x1b[0mom \r\n\n \t\x1b[0m\n"))
	kept, why := w.Stopped()
	if kept != 6 || !errors.Is(why, syscall.ENOSPC) {
		t.Errorf("kept %d, %v", kept, why)
	}
	_, _ = one.Write([]byte("no end"))
	if seen, cut := w.Close(); cut != seen-6 {
		t.Errorf("%d of %d bytes are cut", cut, seen)
	}
	if one.LastLine() != "no end" || two.LastLine() != "boom" || w.Input().LastLine() != "" {
		t.Errorf("the last lines are %q and %q", one.LastLine(), two.LastLine())
	}
}
