package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"quant"
)

func put(t *testing.T, s Store, text string) string {
	t.Helper()
	digest, size, err := s.Put(context.Background(), strings.NewReader(text))
	if err != nil || size != int64(len(text)) {
		t.Fatal(size, err)
	}
	return digest
}

func contents(t *testing.T, s Store) (list []Content) {
	t.Helper()
	if err := s.Each(context.Background(), func(c Content) error { list = append(list, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAContentIsStoredOnceUnderItsDigest(t *testing.T) {
	t.Parallel()
	s := Store{Dir: filepath.Join(t.TempDir(), "with space", "한글")}
	if got := contents(t, s); len(got) != 0 {
		t.Fatal(got)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { put(t, s, "abc") })
	}
	all.Wait()
	digest := put(t, s, "abc")
	// The digest of "abc", of FIPS 180-2, appendix B.1.
	if digest != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(digest)
	}
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, _ := io.ReadAll(f); string(text) != "abc" {
		t.Errorf("%q", text)
	}
	if got := contents(t, s); len(got) != 1 || got[0].Digest != digest || got[0].Bytes != 3 {
		t.Error(got)
	}
	if info, _ := os.Stat(s.Dir); info.Mode().Perm() != 0o700 {
		t.Error(info.Mode())
	}
}

func TestAWriterThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := Store{Dir: t.TempDir()}
	broken := errors.New("broken")
	_, _, err := s.Put(context.Background(), io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(broken)
	if _, _, err := s.Put(ctx, strings.NewReader("x")); !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.Dir); len(left) != 0 {
		t.Error(left)
	}
	if _, _, err := (Store{Dir: filepath.Join(s.Dir, "file", "below")}).Put(context.Background(), strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Store{Dir: filepath.Join(s.Dir, "plain")}).Put(context.Background(), strings.NewReader("x")); !errors.Is(err, quant.Store) {
		t.Error(err)
	}
}

func TestADamagedContentIsRefusedAndWrittenAnew(t *testing.T) {
	t.Parallel()
	s := Store{Dir: t.TempDir()}
	digest := put(t, s, "what was measured")
	path, err := s.Path(digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("what was wished!!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), digest); !errors.Is(err, quant.Refused) {
		t.Error(err)
	}
	if again := put(t, s, "what was measured"); again != digest || s.Verify(t.Context(), digest) != nil {
		t.Error(again, s.Verify(t.Context(), digest))
	}
	// A link in its place is no content, wherever it leads.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), digest); !errors.Is(err, quant.Refused) {
		t.Error(err)
	}
	if len(contents(t, s)) != 0 {
		t.Error("a link was listed")
	}
}

func TestWhatIsNoDigestOpensNothing(t *testing.T) {
	t.Parallel()
	s := Store{Dir: t.TempDir()}
	for _, digest := range []string{"", "sha256:", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "md5:" + strings.Repeat("a", 64), strings.Repeat("a", 64), "sha256:" + strings.Repeat("/", 64)} {
		if _, err := s.Open(t.Context(), digest); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", digest, err)
		}
	}
	if _, err := s.Open(t.Context(), "sha256:"+strings.Repeat("a", 64)); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
}

func TestWhatADeadWriterLeftIsListedWithoutADigest(t *testing.T) {
	t.Parallel()
	s := Store{Dir: t.TempDir()}
	for _, name := range []string{".artifact.quant-tmp-1", ".new-1", "README", "ab/" + strings.Repeat("c", 61)} {
		path := filepath.Join(s.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := contents(t, s)
	if len(got) != 2 || got[0].Digest+got[1].Digest != "" || filepath.Base(got[0].Path) != ".artifact.quant-tmp-1" || filepath.Base(got[1].Path) != ".new-1" {
		t.Error(got)
	}
}

func TestATextIsReadUpToItsLimitAndTheEndOfACharacter(t *testing.T) {
	t.Parallel()
	s := Store{Dir: filepath.Join(t.TempDir(), "a")}
	for _, c := range []struct {
		content, text string
		limit         int
		cut           bool
		err           error
	}{
		{"", "", 4, false, nil},
		{"abcd", "abcd", 4, false, nil},
		{"abcde", "abcd", 4, true, nil},
		{"한글", "한", 4, true, nil},
		{"한글", "한글", 6, false, nil},
		{"ab\x00", "", 9, false, ErrNoText},
		{"ab\xff", "", 9, false, ErrNoText},
		{"\xff\xff\xff\xff\xff\xff", "", 5, false, ErrNoText},
	} {
		r, err := s.Reader(t.Context(), put(t, s, c.content))
		if err != nil {
			t.Fatal(err)
		}
		text, cut, err := r.Text(c.limit)
		if text != c.text || cut != c.cut || !errors.Is(err, c.err) {
			t.Errorf("%q up to %d: %q, cut %v, %v", c.content, c.limit, text, cut, err)
		}
		r.Close()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := s.Reader(ctx, put(t, s, "abc"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	enough := errors.New("enough")
	cancel(enough)
	if _, err := io.ReadAll(r); !errors.Is(err, enough) {
		t.Error(err)
	}
	if _, err := s.Reader(t.Context(), "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, quant.NotFound) {
		t.Error(err)
	}
	for _, name := range []string{"", "../x"} {
		if _, err := s.KeepFrom(t.Context(), strings.NewReader("x"), name); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if a, err := s.KeepFrom(t.Context(), strings.NewReader("xyz"), "a/b"); err != nil || a.Name != "a/b" || a.Bytes != 3 || s.Verify(t.Context(), a.Digest) != nil {
		t.Errorf("%+v %v", a, err)
	}
}
