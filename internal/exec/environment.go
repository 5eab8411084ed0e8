package exec

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/config"
	"quant/internal/session"
)

// environFor is the environment of a program that works in the session's lab as
// part of its run: environ, with the run and the lab in it.
func environFor(s *session.Session, environ []string) ([]string, error) {
	return Environ(s, s.RunID(), environ)
}

// Environ is the environment of a process that works in the session's lab inside a run:
// environ, with that run and the lab in it, and with more. Failed: paths of the lab are
// relative to a folder that is gone.
func Environ(s *session.Session, parent string, environ []string, more ...string) ([]string, error) {
	set := append([]string{config.ParentRun + "=" + parent}, more...)
	set = append(set, serverVariable(s)...)
	for _, at := range locations(s) {
		path, err := filepath.Abs(at.path)
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "the working directory is gone").WithHint("change to one that exists")
		}
		set = append(set, at.variable+"="+path)
	}
	rest := slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	})
	return append(rest, set...), nil
}

// location is a variable that names the lab, or a part of it, to other programs.
type location struct{ variable, path string }

func locations(s *session.Session) []location {
	list := []location{{config.DataDir, s.DataDir}}
	if s.MetaURL == "" {
		list = append(list, location{config.SQLitePath, s.MetaPath})
	}
	if s.FactsURL == "" {
		list = append(list, location{config.DuckDBPath, s.FactPath})
	}
	return list
}

// serverVariable names the servers of the lab to other programs. It is never a
// flag: others see the command lines of processes. Where the lab has none it is set
// empty, which is as good as not set, because the environment may name one.
func serverVariable(s *session.Session) []string {
	set := []string{config.MetaURL + "=" + s.MetaURL, config.FactsURL + "=" + s.FactsURL, config.ObjectsURL + "=" + s.ObjectsURL}
	if s.FactsURL != "" {
		if folder, err := filepath.Abs(s.Extensions); err == nil {
			set = append(set, config.ExtensionsDir+"="+folder)
		}
	}
	return set
}

func valueOf(environ []string, name string) string {
	for _, pair := range environ {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

// recordedVariables are the variables that are recorded of a program's
// environment: what decides which programs and libraries it finds and how they
// compute. A name that ends in * stands for all that begin so.
var recordedVariables = []string{
	"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "VIRTUAL_ENV", "CONDA_*", "PYTHON*", "R_HOME", "R_LIBS*", "JULIA_*",
	"CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS",
	"OMP_*", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "GOMAXPROCS",
}

// recorded is what is recorded of an environment.
func recorded(environ []string) map[string]string {
	out := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		for _, variable := range recordedVariables {
			prefix, open := strings.CutSuffix(variable, "*")
			if name == variable || open && strings.HasPrefix(name, prefix) {
				value = strings.ToValidUTF8(value[:min(len(value), quant.MaxRecordValue)], "\uFFFD")
				out[strings.ToValidUTF8(name, "\uFFFD")] = value
			}
		}
	}
	return out
}

func document(v any) quant.JSON {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil // texts always have a JSON form
	}
	return doc
}
