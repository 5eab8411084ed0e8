package curator

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
)

// rules is raised with every change of what a file is read as or of what a report
// says: what an earlier program remembers proves nothing then.
const rules = 1

// rememberFrom is the size, in bytes, from which it pays to remember a file: a
// smaller one is read in no time.
const rememberFrom = 1 << 20

// maxRemembered bounds what is read of a memory.
const maxRemembered = 64 << 20

// remembered is what an ingest of one file left. The file with the same digest, asked
// for in the same words under the same rules, changes nothing while the table is as
// it was then: the newest ledger row of ohlcv is still that one, no row was added or
// taken away beside the ledger, and none bears the stamp of no run.
type remembered struct {
	Size      int64      `json:"size"` // of the file, in bytes
	Digest    string     `json:"digest"`
	RunID     string     `json:"run_id"` // of the newest ledger row of ohlcv
	Committed quant.Time `json:"committed_at"`
	Bars      int64      `json:"bars"` // stored in all
	Report    Report     `json:"report"`
}

// memory is the path of what is remembered of the one file as it is asked for, or ""
// where nothing is. The words of the request, the file's path among them, are part
// of it as a digest alone, since they may say a secret.
func (in *ingest) memory() string {
	if in.Memory == "" || len(in.inputs) != 1 || in.series != nil {
		return ""
	}
	file := in.inputs[0]
	if file.Member != "" || file.Size < in.rememberFrom {
		return ""
	}
	words, err := json.Marshal([]any{rules, file.Path, file.Name, file.formatName(), len(in.Files), in.Symbol, in.Encoding, in.Sheet, in.Layout, in.CloseOnly,
		in.DateFormat, in.Map, in.NoHeader, in.Date, in.Timezone, in.Decimal, in.VolumeMissing})
	if err != nil {
		return ""
	}
	name, _ := durable.DigestHex(durable.Digest(words))
	return filepath.Join(in.Memory, name+".json")
}

// newestBars is the state of ohlcv: who changed it last, when, and its number of rows.
func (in *ingest) newestBars(ctx context.Context) (run string, at quant.Time, bars int64, err error) {
	err = in.db.QueryRow(ctx, "SELECT run_id, committed_at, (SELECT count(*) FROM ohlcv) FROM ledger WHERE table_name = ? ORDER BY committed_at DESC LIMIT 1", factstore.OHLCV).Scan(&run, &at, &bars)
	return run, at, bars, err
}

// remember keeps what the ingest that has just ended left, for recall. Only of one
// that took every row: what was turned away is judged anew. That nothing could be
// kept is no fault.
func (in *ingest) remember(ctx context.Context) {
	path := in.memory()
	r := in.report
	if path == "" || r.RowsRejected > 0 || len(r.Left) > 0 || len(r.Files) != 1 || r.RowsRead == 0 {
		return
	}
	for _, notice := range r.Notices {
		if strings.Contains(notice, clip(in.inputs[0].Name)) {
			return // it may say a secret
		}
	}
	m := remembered{Size: in.inputs[0].Size, Digest: r.Files[0].Digest, Report: r}
	var err error
	if m.RunID, m.Committed, m.Bars, err = in.newestBars(ctx); err != nil {
		return
	}
	file := r.Files[0]
	file.Path, file.Name = "", ""
	m.Report.Files = []FileReport{file}
	text, err := json.Marshal(m)
	if err != nil || durable.MakeFolder(in.Memory) != nil {
		return
	}
	_ = durable.Replace(path, 0o600, durable.Bytes(text))
}

// recall reports whether the file is one of which it is proven that it changes
// nothing, and fills the report as reading it would.
func (in *ingest) recall(ctx context.Context) (bool, error) {
	m, ok := readMemory(in.memory())
	file := in.inputs[0]
	if !ok || m.Size != file.Size || string(m.Report.LastDate) > in.tomorrow {
		return false, nil
	}
	run, at, bars, err := in.newestBars(ctx)
	if err != nil || run != m.RunID || !at.Equal(m.Committed.Time) || bars != m.Bars {
		return false, nil
	}
	if err := in.db.RequireExplained(ctx, factstore.OHLCV, "", "true"); err != nil {
		return false, nil
	}
	digest, err := in.digestOf(ctx, file)
	if err != nil || digest != m.Digest {
		return false, context.Cause(ctx)
	}
	r := m.Report
	r.Files[0].Path, r.Files[0].Name = file.fullPath(), clip(file.Name)
	r.RowsInserted, r.RowsUpdated, r.RowsRescaled, r.Revisions = 0, 0, 0, 0
	r.RowsUnchanged = r.RowsRead - r.RowsCollapsed - r.RowsSkipped
	in.report = r
	if in.BeforeCommit != nil && len(r.Symbols) > 0 {
		return true, in.BeforeCommit(ctx, r.Symbols)
	}
	return true, nil
}

func readMemory(path string) (m remembered, ok bool) {
	if path == "" {
		return m, false
	}
	f, err := os.Open(path)
	if err != nil {
		return m, false
	}
	defer f.Close()
	m.Report = newReport()
	err = json.NewDecoder(io.LimitReader(f, maxRemembered)).Decode(&m)
	return m, err == nil && len(m.Report.Files) == 1 && m.RunID != ""
}

// digestOf reads a file for its digest alone.
func (in *ingest) digestOf(ctx context.Context, file Input) (string, error) {
	f, err := os.Open(file.Path)
	if err != nil {
		return "", fileError(file.Path, err)
	}
	defer f.Close()
	d := newDigestReader(ctx, f)
	if err := d.drain(func(read int64) { in.progress(0, Reading, read) }); err != nil {
		return "", file.readError(err)
	}
	return d.digest(), file.unchanged(f)
}
