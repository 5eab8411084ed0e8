package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"quant"
)

func nothing(string, int64, io.Reader) error { return nil }

// whole is a backup with a few members.
func whole(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := newWriter(&b)
	for _, name := range []string{"quant.duckdb.wal", "quant.duckdb", "meta.db", "artifacts/" + strings.Repeat("a", 64), "models/" + strings.Repeat("b", 64) + ".json"} {
		if _, err := w.add(t.Context(), name, int64(len(name)), strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABackupIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	text := whole(t)
	var names []string
	m, err := read(t.Context(), bytes.NewReader(text), int64(len(text)), func(name string, size int64, r io.Reader) error {
		got, err := io.ReadAll(r)
		if string(got) != name || size != int64(len(name)) {
			t.Errorf("%s holds %q", name, got)
		}
		names = append(names, name)
		return err
	})
	if err != nil || len(m.Members) != 5 || len(names) != 5 {
		t.Error(m, names, err)
	}
}

func TestABackupThatIsCutOffOrChangedIsRefused(t *testing.T) {
	t.Parallel()
	text := whole(t)
	check := func(b []byte) error {
		_, err := read(t.Context(), bytes.NewReader(b), int64(len(b)), nothing)
		return err
	}
	for n := 0; n < bytes.LastIndexByte(text, '}'); n += 97 {
		if err := check(text[:n]); !errors.Is(err, quant.Refused) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	for _, content := range []string{"quant.duckdb.wal", "artifacts/aaa", "meta.db"} {
		for from := 0; ; {
			at := bytes.Index(text[from:], []byte(content))
			if at < 0 {
				break
			}
			from += at + 1
			changed := bytes.Clone(text)
			changed[from] ^= 1
			if err := check(changed); !errors.Is(err, quant.Refused) {
				t.Errorf("a changed byte of %q at %d: %v", content, from, err)
			}
		}
	}
}

type entry struct {
	tar.Header
	body string
}

// archived is a tar with a manifest that agrees with what is in it.
func archived(t testing.TB, list ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	m := Manifest{Format: Format}
	for _, e := range append(list, entry{Header: tar.Header{Name: "meta.db"}, body: "meta"}) {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		e.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(e.body))
		m.Members = append(m.Members, Member{e.Name, e.Size, "sha256:" + hex.EncodeToString(sum[:])})
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: manifestName, Size: int64(len(text)), Typeflag: tar.TypeReg})
	}
	if err == nil {
		_, err = w.Write(text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileMembersAreRefused(t *testing.T) {
	t.Parallel()
	sha := strings.Repeat("a", 64)
	for name, list := range map[string][]entry{
		"traversal":          {{Header: tar.Header{Name: "../evil"}}},
		"inner traversal":    {{Header: tar.Header{Name: "artifacts/../../evil"}}},
		"traversal as log":   {{Header: tar.Header{Name: "logs/../019bc1a4-4a00-7000-8000-000000000001"}}},
		"traversal of run":   {{Header: tar.Header{Name: "runs/019bc1a4-4a00-7000-8000-000000000001/.."}}},
		"absolute":           {{Header: tar.Header{Name: "/tmp/evil"}}},
		"link":               {{Header: tar.Header{Name: "artifacts/" + sha, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}},
		"hard link":          {{Header: tar.Header{Name: "artifacts/" + sha, Typeflag: tar.TypeLink, Linkname: "meta.db"}}},
		"device":             {{Header: tar.Header{Name: "artifacts/" + sha, Typeflag: tar.TypeChar}}},
		"folder":             {{Header: tar.Header{Name: "artifacts/", Typeflag: tar.TypeDir}}},
		"twice":              {{Header: tar.Header{Name: "meta.db"}, body: "other"}},
		"unknown":            {{Header: tar.Header{Name: "meta.db.live"}}},
		"beside":             {{Header: tar.Header{Name: "meta.db-wal"}}},
		"upper case":         {{Header: tar.Header{Name: "artifacts/" + strings.ToUpper(sha)}}},
		"control characters": {{Header: tar.Header{Name: "logs/019bc1a4-4a00-7000-8000-000000000001\x1b[2J"}}},
	} {
		text := archived(t, list...)
		if _, err := read(t.Context(), bytes.NewReader(text), int64(len(text)), nothing); !errors.Is(err, quant.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := archived(t)
	if _, err := read(t.Context(), bytes.NewReader(text), int64(len(text)), nothing); err != nil {
		t.Errorf("a plain one: %v", err)
	}
}

func TestAMemberThatPretendsToBeLargerThanItsArchiveIsRefused(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "meta.db", Size: 1 << 50, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	taken := false
	_, err := read(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()), func(string, int64, io.Reader) error { taken = true; return nil })
	if !errors.Is(err, quant.Refused) || taken {
		t.Error(taken, err)
	}
}

// Whatever is read, only members of allowed names are handed out, of no more
// bytes in all than there are, and what is accepted has the digests it says.
func FuzzRead(f *testing.F) {
	f.Add(whole(f))
	f.Add(archived(f))
	f.Add(archived(f, entry{Header: tar.Header{Name: "../evil"}}))
	f.Add(archived(f, entry{Header: tar.Header{Name: "meta.db", PAXRecords: map[string]string{"comment": "x"}}}))
	f.Add(whole(f)[:700])
	f.Fuzz(func(t *testing.T, text []byte) {
		total := int64(0)
		found := map[string]string{}
		m, err := read(context.Background(), bytes.NewReader(text), int64(len(text)), func(name string, _ int64, r io.Reader) error {
			if !filepath.IsLocal(name) || strings.Count(name, "/") > 2 {
				t.Errorf("handed out %q", name)
			}
			sum := sha256.New()
			n, err := io.Copy(sum, r)
			total += n
			found[name] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
			return err
		})
		if total > int64(len(text)) {
			t.Errorf("%d bytes out of %d", total, len(text))
		}
		if err != nil {
			if !errors.Is(err, quant.Refused) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(m.Members) != len(found) || found["meta.db"] == "" {
			t.Errorf("accepted %v as %v", found, m)
		}
		for _, member := range m.Members {
			if found[member.Name] != member.Digest {
				t.Errorf("%s: %s is not %s", member.Name, found[member.Name], member.Digest)
			}
		}
	})
}
