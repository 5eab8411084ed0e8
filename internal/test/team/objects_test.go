package team

import (
	"os"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/objectstest"
)

// sharing are machines of a team whose artifacts lie where url says.
func sharing(t *testing.T, url string) (o *team, a, b *labtest.Lab) {
	t.Helper()
	o = newTeam(t)
	a, b = o.machine(), o.machine()
	for _, l := range []*labtest.Lab{a, b} {
		l.Env = append(l.Env, "QUANT_OBJECTS_URL="+url)
		for name, value := range objectstest.Environment() {
			l.Env = append(l.Env, name+"="+value)
		}
	}
	return o, a, b
}

// What one machine logs and its programs print, every other reads, in a bucket as in a
// folder.
func TestArtifactsAndLogsAreReadOnAllMachines(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(t *testing.T) string{
		"bucket": func(t *testing.T) string { return objectstest.Shared(t).URL(t) },
		"folder": func(t *testing.T) string { return "file://" + t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a, b := sharing(t, url(t))
			a.Write("curve.csv", []byte("day,equity\n1,2\n"))
			a.Must("exec", "--name", "prints", "--", "sh", "-c", "echo what it printed; echo and why >&2")
			a.Must("log", "artifact", "--run", "@prints", "curve.csv")
			if text := b.Must("runs", "artifact", "@prints", "curve.csv").Stdout; text != "day,equity\n1,2\n" {
				t.Errorf("another machine reads %q", text)
			}
			if text := b.Must("runs", "logs", "@prints").Stdout; !strings.Contains(text, "what it printed\n") || !strings.Contains(text, "and why\n") {
				t.Errorf("another machine reads of the program %q", text)
			}
			if text := a.Must("runs", "logs", "@prints").Stdout; !strings.Contains(text, "what it printed\n") {
				t.Errorf("its own machine reads %q", text)
			}
			for _, l := range []*labtest.Lab{a, b} {
				l.Must("doctor", "--deep")
				l.Must("gc", "--yes")
			}
			b.Must("runs", "artifact", "@prints", "curve.csv")
		})
	}
}

// An object that is gone, or another than was stored, is named with what to do.
func TestTheDoctorFindsObjectsThatAreMissing(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	o, a, b := sharing(t, objectstest.In(server.Endpoint(), bucket))
	a.Write("kept.txt", []byte("kept"))
	a.Must("exec", "--name", "one", "--", "true")
	a.Must("log", "artifact", "--run", "@one", "kept.txt")
	found := strings.TrimPrefix(o.rows("SELECT digest FROM quant.run_artifacts WHERE name = 'kept.txt'"), "sha256:")
	object := server.File(bucket, "lab/sha256/"+found[:2]+"/"+found[2:])
	labtest.Must(t, os.WriteFile(object, []byte("else"), 0o600))
	r := b.Run("runs", "artifact", "@one", "kept.txt")
	if r.Code != 6 || !strings.Contains(r.Stderr, "was changed since it was stored") || !strings.Contains(r.Stderr, "s3://"+bucket) {
		t.Errorf("%d %s", r.Code, r.Stderr)
	}
	server.Remove(t, bucket, "lab/sha256/"+found[:2]+"/"+found[2:])
	if r := b.Run("doctor"); r.Code == 0 || !strings.Contains(r.Stdout, "is missing") {
		t.Errorf("%d %s %s", r.Code, r.Stdout, r.Stderr)
	}
	a.Must("doctor", "--fix")
	b.Must("doctor")
	if text := b.Must("runs", "artifact", "@one", "kept.txt").Stdout; text != "kept" {
		t.Errorf("%q", text)
	}
}

// A store that does not answer is an error that says so; keys are shown nowhere.
func TestAStoreThatIsGoneIsAnErrorAndKeysAreShownNowhere(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	front := server.Front(t, false)
	o, a, _ := sharing(t, objectstest.In(front.Endpoint, server.Bucket(t)))
	a.Write("x.txt", []byte("x"))
	a.Must("exec", "--name", "one", "--", "true")
	front.Fail(objectstest.Every(1, objectstest.Fault{Status: 403}))
	r := a.Run("log", "artifact", "--run", "@one", "x.txt")
	if r.Code != 8 || !strings.Contains(r.Stderr, "403") || !strings.Contains(r.Stderr, "hint:") {
		t.Errorf("%d %s", r.Code, r.Stderr)
	}
	r = a.Must("config")
	if !strings.Contains(r.Stdout, "QUANT_OBJECTS_URL") || strings.Contains(r.Stdout, objectstest.Secret) {
		t.Error(r.Stdout)
	}
	r = a.Run("--objects-url", "s3://akey:pa55word77@bucket/x", "config")
	if r.Code != 2 || strings.Contains(r.Stdout+r.Stderr, "pa55word77") {
		t.Errorf("%d %s%s", r.Code, r.Stdout, r.Stderr)
	}
	a.Run("exec", "--", "sh", "-c", "echo "+objectstest.Secret)
	if all := o.rows("SELECT config_json, error_text FROM quant.runs"); strings.Contains(all, "pa55word77") || strings.Contains(all, objectstest.Secret) {
		t.Error("a key is in the record:", all)
	}
}

// A log that is still being written is on the machine of its program; who follows it
// elsewhere gets it when the run has ended.
func TestTheLogOfARunElsewhereComesWhenItEnds(t *testing.T) {
	t.Parallel()
	_, a, b := sharing(t, objectstest.Shared(t).URL(t))
	running := a.Start(nil, "exec", "--name", "long", "--", "sh", "-c", "echo begun; while ! test -e go; do sleep 0.1; done; echo ended")
	for begun := time.Now(); !strings.Contains(a.Run("runs", "logs", "@long").Stdout, "begun"); {
		if time.Since(begun) > time.Minute {
			t.Fatal("it did not begin")
		}
	}
	r := b.Run("runs", "logs", "@long")
	if r.Code != 4 {
		t.Errorf("%d %s", r.Code, r.Stderr)
	}
	following := b.Start(nil, "runs", "logs", "--follow", "@long")
	a.Write("go", nil)
	running.Wait()
	if text := following.Wait().Stdout; !strings.Contains(text, "begun\n") || !strings.Contains(text, "ended\n") {
		t.Errorf("%q", text)
	}
}
