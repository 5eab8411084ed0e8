package team

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"quant/internal/factstore"
	"quant/internal/test/labtest"
)

// compose is the part of a compose file that is about quant.
type compose struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []string          `yaml:"volumes"`
		DependsOn   map[string]any    `yaml:"depends_on"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

// The compose file of docs/team keeps the compose specification (its schema is
// compose-go's, v2.16.2), starts commands that quant has, and names what it defines.
func TestTheComposeFileKeepsItsSpecificationAndStartsCommandsThatThereAre(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "docs", "team")
	text, err := os.ReadFile(filepath.Join(folder, "compose.yaml"))
	labtest.Must(t, err)
	asJSON, err := yaml.YAMLToJSON(text)
	labtest.Must(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	labtest.Must(t, err)
	delete(document.(map[string]any), "x-quant") // merged into the services
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata", "compose-spec.json"))
	labtest.Must(t, err)
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}

	var c compose
	labtest.Must(t, yaml.Unmarshal(text, &c))
	l := labtest.New(t)
	started := 0
	for name, service := range c.Services {
		for other := range service.DependsOn {
			if _, there := c.Services[other]; !there {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
		for _, v := range service.Volumes {
			if volume, _, _ := strings.Cut(v, ":"); c.Volumes[volume] == nil {
				t.Errorf("%s has a volume %s, which is not defined", name, volume)
			}
		}
		if service.Image != "quant" {
			continue
		}
		started++
		l.Must(append(slices.Clone(service.Command), "--help")...)
		for _, setting := range []string{"QUANT_META_URL", "QUANT_FACTS_URL"} {
			l.Env = append(l.Env, setting+"="+service.Environment[setting])
		}
		// Nobody answers under these names here, which is told after the addresses are read.
		if r := l.Run("init-db"); r.Code != 8 || !strings.Contains(r.Stderr, "postgres") {
			t.Errorf("%s: %v", name, r)
		}
		l.Env = l.Env[:len(l.Env)-2]
	}
	if started != 3 {
		t.Errorf("%d services run quant", started)
	}

	image, err := os.ReadFile(filepath.Join(folder, "Dockerfile"))
	labtest.Must(t, err)
	for _, e := range []factstore.Extension{factstore.DuckLake, factstore.PostgresScanner} {
		if pinned := e.Package() + "==" + strings.TrimPrefix(factstore.EngineVersion, "v"); !strings.Contains(string(image), pinned) {
			t.Errorf("the image does not install %s", pinned)
		}
	}
}
