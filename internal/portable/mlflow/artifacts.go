package mlflow

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"quant"
)

// Beside its SQLite file MLflow keeps artifacts in these folders, unless it is told
// another place.
var besideDatabase = []string{"mlruns", "mlartifacts"}

// places are the folders in which artifacts may stand: those of the store, and those
// that the caller names. Nothing outside them is opened, whatever the store says.
type places []place

type place struct {
	name string
	root *os.Root
}

func (p place) isFolder(name string) bool {
	info, err := p.root.Stat(name)
	return err == nil && info.IsDir()
}

// openPlaces opens the folders of a store at name and then the extra ones. Errors:
// NotFound or Failed for an extra one that cannot be opened.
func openPlaces(name string, extra []string) (places, error) {
	var list places
	own := []string{name}
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		own = nil
		for _, beside := range besideDatabase {
			own = append(own, filepath.Join(filepath.Dir(name), beside))
		}
	}
	for _, folder := range own {
		if root, err := os.OpenRoot(folder); err == nil {
			list = append(list, place{folder, root})
		}
	}
	for _, folder := range extra {
		root, err := os.OpenRoot(folder)
		if err != nil {
			list.close()
			code := quant.Failed
			if errors.Is(err, fs.ErrNotExist) {
				code = quant.NotFound
			}
			return nil, quant.Errorf(code, "open the folder of artifacts: %w", err).WithHint("--artifacts names a folder that holds artifacts of the store")
		}
		list = append(list, place{folder, root})
	}
	return list, nil
}

func (l places) close() {
	for _, p := range l {
		_ = p.root.Close()
	}
}

// locate finds the folder of artifacts that a URI means, as id's: below a place, by the
// longest end of the URI's path that stands there and still names id. A store that was
// moved, or copied from another machine, so keeps its artifacts. found is false where
// there is none; remote tells whether the URI is of another machine.
func (l places) locate(uri, id string) (at place, folder string, found, remote bool) {
	where, remote := pathOf(uri)
	if id == "" || strings.ContainsAny(id, `/\`) {
		return at, "", false, remote
	}
	parts := strings.Split(strings.Trim(path.Clean("/"+where), "/"), "/")
	last := -1
	for i, part := range parts {
		if part == id {
			last = i
		}
	}
	for i := 0; i <= last; i++ {
		name := path.Join(parts[i:]...)
		for _, p := range l {
			if p.isFolder(name) {
				return p, name, true, remote
			}
		}
	}
	return at, "", false, remote
}

// pathOf is the path that a URI of artifacts has, and whether it is one of this machine
// or of MLflow's own server.
func pathOf(uri string) (where string, remote bool) {
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || strings.Contains(scheme, "/") {
		return uri, false
	}
	u, err := url.Parse(uri)
	if err != nil {
		return rest, true
	}
	where = u.Path
	if u.Opaque != "" {
		where = u.Opaque
	}
	switch u.Scheme {
	case "file", "mlflow-artifacts":
		return where, false
	}
	return where, true
}

// each calls fn for every regular file below a folder of a place, by its path in it;
// odd is called for what is none, or cannot be read. No link is followed.
func (p place) each(folder string, fn func(name string, size int64) error, odd func(name string, err error)) error {
	return fs.WalkDir(p.root.FS(), folder, func(full string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(full, folder+"/")
		switch {
		case err != nil:
			odd(name, err)
			return nil
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			odd(name, errors.New("it is no regular file"))
			return nil
		}
		info, err := e.Info()
		if err != nil {
			odd(name, err)
			return nil
		}
		return fn(name, info.Size())
	})
}

// open opens a regular file of a place.
func (p place) open(name string) (*os.File, error) {
	f, err := p.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return f, nil
}
