package curator

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"quant"
	"quant/internal/durable"
)

// gzipEnding is that of compressed files of any format.
const gzipEnding = ".gz"

// Bounds of what a zip archive may hold. Its members are read one after the
// other, and text is never held as a whole.
const (
	maxMembers  = 10_000   // folders are none
	maxUnpacked = 64 << 30 // bytes of all members
	maxSpooled  = 4 << 30  // bytes of one member that must be read at random
)

func isGzip(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1f, 0x8b}) }
func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06"))
}

// isPriceName reports whether a name ends like that of a price file, and is no
// README or LICENSE.
func isPriceName(name string) bool {
	if cut := len(name) - len(gzipEnding); cut > 0 && strings.EqualFold(name[cut:], gzipEnding) {
		name = name[:cut]
	}
	stem := strings.ToLower(strings.TrimSuffix(name, path.Ext(name)))
	if stem == "readme" || stem == "license" || stem == "licence" || stem == "notice" {
		return false
	}
	for _, f := range formats() {
		if slices.Contains(f.endings, strings.ToLower(path.Ext(name))) {
			return true
		}
	}
	return false
}

func isWorkbookName(name string) bool {
	return slices.Contains(formatNamed(xlsxFormat).endings, strings.ToLower(path.Ext(name)))
}

// lookForWorkbook gives a zip archive the format of a workbook if it is one.
func (in *Input) lookForWorkbook() error {
	f, err := os.Open(in.Path)
	if err != nil {
		return fileError(in.Path, err)
	}
	defer f.Close()
	zr, err := zip.NewReader(f, in.Size)
	if err != nil {
		return quant.Errorf(quant.Invalid, "%s: damaged zip archive: %s", in.label(), clip(err.Error())).WithHint("fetch it again")
	}
	if slices.ContainsFunc(zr.File, func(m *zip.File) bool { return m.Name == contentTypes }) {
		in.Format = xlsxFormat
	}
	return nil
}

// archive is the directory of a zip archive, read once for all its members. Its
// file is open while one of them is; several may be at once.
type archive struct {
	zr    *zip.Reader
	mu    sync.Mutex
	users int
	file  atomic.Pointer[os.File] // nil: closed; what is read then fails
}

// ReadAt is for a user, who holds the file open.
func (a *archive) ReadAt(p []byte, at int64) (int, error) { return a.file.Load().ReadAt(p, at) }

// use holds the file of an input open until leave is called.
func (a *archive) use(in Input) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.file.Load()
	if f == nil {
		var err error
		if f, err = os.Open(in.Path); err != nil {
			return fileError(in.Path, err)
		}
	}
	if err := in.unchanged(f); err != nil {
		if a.users == 0 {
			f.Close()
		}
		return err
	}
	a.file.Store(f)
	a.users++
	return nil
}

func (a *archive) leave() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users--; a.users > 0 {
		return nil
	}
	return a.file.Swap(nil).Close()
}

// members returns the price files in a zip archive, in its order: those whose
// names end like one, and that are not empty. Of the others, but for what an
// operating system adds, the first input tells.
func members(in Input) ([]Input, error) {
	bad := func(hint, format string, args ...any) error {
		return quant.Errorf(quant.Invalid, "%s: "+format, append([]any{clip(in.Path)}, args...)...).WithHint("%s", hint)
	}
	a := &archive{}
	if err := a.use(in); err != nil {
		return nil, err
	}
	defer func() { _ = a.leave() }()
	zr, err := zip.NewReader(a, in.Size)
	if err != nil {
		return nil, bad("fetch it again", "damaged zip archive: %s", clip(err.Error()))
	}
	a.zr, in.archive = zr, a
	if slices.ContainsFunc(zr.File, func(m *zip.File) bool { return m.Name == "mimetype" }) {
		return nil, bad("save it as .xlsx or as CSV", "is an OpenDocument file")
	}
	n := 0
	for _, m := range zr.File {
		if !strings.HasSuffix(m.Name, "/") {
			n++
		}
	}
	if n > maxMembers {
		return nil, bad("unpack it and name the files", "has %d members, more than %d", n, maxMembers)
	}
	var list []Input
	var leftOut []string
	var unpacked, packed uint64
	for i, m := range zr.File {
		name := m.Name
		base := path.Base(name)
		switch {
		case strings.HasSuffix(name, "/"), m.UncompressedSize64 == 0,
			strings.HasPrefix(name, "__MACOSX/"), strings.HasPrefix(base, "."), strings.EqualFold(base, "thumbs.db"), strings.EqualFold(base, "desktop.ini"):
			continue
		case !isPriceName(base):
			leftOut = append(leftOut, clip(name))
			continue
		case !m.Mode().IsRegular():
			return nil, bad("unpack it and name the files", "its member %s is not a regular file", clip(name))
		case m.Flags&1 != 0:
			return nil, bad("unpack it with the password and name the files", "its member %s is encrypted", clip(name))
		case m.Method != zip.Store && m.Method != zip.Deflate:
			return nil, bad("unpack it and name the files", "its member %s is compressed in a way that is not read", clip(name))
		}
		unpacked, packed = unpacked+m.UncompressedSize64, packed+m.CompressedSize64
		if m.UncompressedSize64 > maxUnpacked || unpacked > maxUnpacked {
			return nil, bad("unpack it and name the files", "its members are more than %d GiB", maxUnpacked>>30)
		}
		if m.CompressedSize64 > uint64(in.Size) || packed > uint64(in.Size) {
			return nil, bad("make the archive again", "its members overlap")
		}
		one := in
		// Only a name: nothing is ever written under it.
		one.Member, one.member, one.Name, one.Size = name, i, in.Name+":"+name, int64(m.UncompressedSize64)
		if err := one.look(); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	if list == nil {
		return nil, bad("name price files, or an archive of some", "holds no price file by its name (.csv, .txt, .tsv, .parquet, .xlsx, .json, .feather)")
	}
	list[0].leftOut = leftOut
	return list, nil
}

// raw opens the bytes of an input as they stand in the file or the archive.
func (in Input) raw() (io.ReadCloser, error) {
	if in.Member == "" {
		f, err := os.Open(in.Path)
		if err != nil {
			return nil, fileError(in.Path, err)
		}
		if err := in.unchanged(f); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	if err := in.archive.use(in); err != nil {
		return nil, err
	}
	m, err := in.archive.zr.File[in.member].Open()
	if err != nil {
		_ = in.archive.leave()
		return nil, quant.Errorf(quant.Invalid, "%s: damaged zip archive: %s", in.label(), clip(err.Error())).WithHint("fetch it again")
	}
	return &memberReader{ReadCloser: m, archive: in.archive}, nil
}

type memberReader struct {
	io.ReadCloser
	archive *archive
	closed  bool
}

// Close may be called more than once.
func (m *memberReader) Close() error {
	if m.closed {
		return nil
	}
	m.closed = true
	return errors.Join(m.ReadCloser.Close(), m.archive.leave())
}

// look finds the format of an input by its first bytes.
func (in *Input) look() error {
	r, err := in.raw()
	if err != nil {
		return err
	}
	defer r.Close()
	head, err := firstBytes(r)
	if err != nil {
		return in.readError(err)
	}
	if isGzip(head) {
		in.packed = true
		// Where the stream is damaged, reading it says so.
		if zr, err := gzip.NewReader(io.MultiReader(bytes.NewReader(head), r)); err == nil {
			if head, err = firstBytes(zr); err != nil {
				head = nil
			}
		}
	}
	switch {
	case isZip(head) && isWorkbookName(in.base()):
		in.Format = xlsxFormat
		return nil
	case isZip(head) && (in.Member != "" || in.packed):
		return quant.Errorf(quant.Invalid, "%s: is a zip archive within another", in.label()).WithHint("unpack it first")
	case isZip(head):
		return in.lookForWorkbook()
	}
	if err := refuseUnread(in.label(), head); err != nil {
		return err
	}
	in.Format = formatOf(head).name
	if in.Format != parquetFormat && isParquetName(strings.TrimSuffix(in.base(), gzipEnding)) {
		return quant.Errorf(quant.Invalid, "%s: is no Parquet file: it does not begin with PAR1", in.label()).
			WithHint("fetch it again if it is damaged; give it another ending if it is CSV")
	}
	return nil
}

func firstBytes(r io.Reader) ([]byte, error) {
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return head[:n], err
}

// whole opens an input so that any part of it can be read, and returns its size
// unpacked and its digest. What stands in an archive is unpacked into a file that
// has no name any more, so that nothing of it stays whatever happens.
func (in Input) whole(ctx context.Context, progress func(int64)) (_ *os.File, size int64, digest string, err error) {
	raw, err := in.raw()
	if err != nil {
		return nil, 0, "", err
	}
	if f, plain := raw.(*os.File); plain && !in.packed {
		defer func() {
			if err != nil {
				f.Close()
			}
		}()
		d := newDigestReader(ctx, f)
		if err := d.drain(progress); err != nil {
			return nil, 0, "", in.readError(err)
		}
		return f, in.Size, d.digest(), in.unchanged(f)
	}
	defer raw.Close()
	d := newDigestReader(ctx, raw)
	var content io.Reader = d
	if in.packed {
		if content, err = gzip.NewReader(d); err != nil {
			return nil, 0, "", in.readError(err)
		}
	}
	f, err := durable.Nameless("")
	if err != nil {
		return nil, 0, "", quant.Errorf(quant.Failed, "%s: unpack: %w", in.label(), err).WithHint("free some space for temporary files")
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	buf := make([]byte, 1<<20)
	for {
		n, err := content.Read(buf)
		if size += int64(n); size > maxSpooled {
			return nil, 0, "", quant.Errorf(quant.Invalid, "%s: is more than %d GiB unpacked", in.label(), maxSpooled>>30).WithHint("unpack it and name the file")
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return nil, 0, "", quant.Errorf(quant.Failed, "%s: unpack: %w", in.label(), err).WithHint("free some space for temporary files")
		}
		progress(d.read.Load())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, "", in.readError(err)
		}
	}
	// What follows the compressed data belongs to the digest.
	if err := d.drain(progress); err != nil {
		return nil, 0, "", in.readError(err)
	}
	if d.read.Load() != in.Size {
		return nil, 0, "", in.cutOff(d.read.Load())
	}
	return f, size, d.digest(), nil
}
