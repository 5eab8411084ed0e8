package pages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// files are scripts, styles and pictures, by the name below assets; the licences of
// those that others wrote stand beside them.
//
//go:embed assets
var files embed.FS

const assetPrefix = "/assets/"

// asset is one file as it is sent.
type asset struct {
	version     string // of its content, a part of its address
	contentType string
	content     []byte
	zipped      []byte // nil: sent as it is
}

// assets reads and compresses all files once, when the first is asked for. Each is
// known by the last part of its name.
var assets = sync.OnceValue(func() map[string]asset {
	all := map[string]asset{}
	err := fs.WalkDir(files, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) == "" {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		a := asset{version: hex.EncodeToString(sum[:6]), contentType: mime.TypeByExtension(path.Ext(name)), content: content}
		if zipped := compress(content, gzip.BestCompression); len(zipped) < len(content) {
			a.zipped = zipped
		}
		all[path.Base(name)] = a
		return nil
	})
	if err != nil {
		panic(err) // what is embedded is there
	}
	return all
})

// assetURL is the address of a file, which changes with its content.
func assetURL(name string) string {
	a, known := assets()[name]
	if !known {
		panic("no asset " + name)
	}
	return assetPrefix + a.version + "/" + name
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	a, known := assets()[r.PathValue("name")]
	if !known {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept-Encoding")
	if r.PathValue("version") == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else { // a page of another version of the program asks
		h.Set("Cache-Control", "no-cache")
	}
	content := a.content
	if a.zipped != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		content = a.zipped
	}
	_, _ = w.Write(content)
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(coding) == "gzip" {
			weight = strings.TrimSpace(weight)
			return weight != "q=0" && weight != "q=0.0"
		}
	}
	return false
}

// compress returns content in the format of gzip.
func compress(content []byte, level int) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err) // a constant level
	}
	_, _ = z.Write(content) // a buffer takes all
	_ = z.Close()
	return b.Bytes()
}
