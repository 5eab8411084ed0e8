package curator

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// The directory of an archive is read once for all its members, of which several may
// be open, and its file is open only while one is.
func TestAnArchiveIsOpenedOnceForAllItsMembers(t *testing.T) {
	l := newLab(t)
	const n = 2000
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range n {
		m, err := w.Create(fmt.Sprintf("S%d.csv", i))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(m, "date,open,high,low,close,volume\n2024-01-02,%d,12,9,11,100\n", i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inputs, err := Inspect([]string{l.file("x.zip", b.String())})
	if err != nil || len(inputs) != n {
		t.Fatalf("%d inputs, %v", len(inputs), err)
	}
	a := inputs[0].archive
	for _, in := range inputs {
		if in.archive != a {
			t.Fatal("a member has an archive of its own")
		}
	}
	l.want("the file is closed", a.file.Load() == nil && a.users == 0, true)
	var open []io.ReadCloser
	for _, i := range []int{7, 1999} {
		r, err := inputs[i].raw()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
	}
	for k, i := range []int{7, 1999} {
		text, err := io.ReadAll(open[k])
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("2024-01-02,%d,", i)) {
			t.Errorf("member %d: %q, %v", i, text, err)
		}
		if err := open[k].Close(); err != nil {
			t.Error(err)
		}
		_ = open[k].Close() // once more does not close the others'
	}
	l.want("the file is closed again", a.file.Load() == nil && a.users == 0, true)
}

// A folder in an archive is no member of it.
func TestFoldersAreNoMembersOfAnArchive(t *testing.T) {
	l := newLab(t)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range maxMembers + 1 {
		if _, err := w.Create(fmt.Sprintf("d%d/", i)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := w.Create("d1/A.csv")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(m, "date,open,high,low,close,volume\n2024-01-02,10,12,9,11,100\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l.mustIngest(nil, l.file("x.zip", b.String()))
	l.want("bars", l.bars(), "[A|2024-01-02|10.0|12.0|9.0|11.0|100.0|-]")
}
