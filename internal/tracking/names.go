package tracking

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"quant"
)

// The tags that quant and MLflow have a meaning for.
const (
	runNameTag   = "mlflow.runName"
	parentTag    = "mlflow.parentRunId"
	userTag      = "mlflow.user"
	sourceTag    = "mlflow.source.name"
	gitCommitTag = "mlflow.source.git.commit"
)

// own is what stands before the name of a client's tag whose name has a meaning in
// quant, so that neither overwrites the other.
const own = "mlflow.tag."

// tagName is the name under which the tag of a client is stored. The name of a run
// is one tag, for quant and for clients.
func tagName(key string) string {
	switch key {
	case runNameTag:
		return quant.NameTag
	case quant.NameTag, quant.ExperimentTag, quant.RerunOfTag:
		return own + key
	}
	return key
}

// tagKey is the name by which clients call a stored tag; "": they do not see it.
func tagKey(name string) string {
	switch name {
	case quant.NameTag:
		return runNameTag
	case quant.ExperimentTag:
		return ""
	}
	if key, found := strings.CutPrefix(name, own); found && tagName(key) == name {
		return key
	}
	return name
}

// nameForm is what names of metrics, params and tags are made of.
var nameForm = sync.OnceValue(func() *regexp.Regexp { // nothing is done at start-up
	return regexp.MustCompile(`^[/\pL\pN_.\- :]*$`)
})

const badCharacters = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."

// normal is a path as Python's posixpath.normpath writes it.
func normal(name string) string {
	p := path.Clean(name)
	if strings.HasPrefix(name, "//") && !strings.HasPrefix(name, "///") {
		return "/" + p
	}
	return p
}

// validName refuses a name that MLflow's server refuses, and one that is too long.
func validName(noun, field, name string) error {
	if !nameForm().MatchString(name) {
		return invalidValue(field, name, badCharacters)
	}
	if p := normal(name); p != name || p == "." || strings.HasPrefix(p, "..") || strings.HasPrefix(p, "/") {
		return invalidValue(field, name, "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to '"+p+"'")
	}
	if utf8.RuneCountInString(name) > maxKey || len(name) > quant.MaxRecordName {
		return invalidf("'%s' exceeds the maximum length of %d characters", noun, maxKey)
	}
	return nil
}

// invalidValue is the error of a value that its field does not take.
func invalidValue(field string, value any, why string) error {
	return invalidf("Invalid value %s for parameter '%s' supplied: %s", jsonOf(value), field, why)
}

func jsonOf(value any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return fmt.Sprint(value)
	}
	return quant.Clip(strings.TrimSpace(b.String()), 500)
}

// The limits of MLflow's server, in characters where it counts texts.
const (
	maxKey              = 250
	maxParamValue       = 6000
	maxTagValue         = 8000
	maxExperimentTag    = 5000
	maxExperimentName   = 500
	maxBatchMetrics     = 1000
	maxBatchParams      = 100
	maxBatchTags        = 100
	maxBatchAll         = 1000
	maxHistory          = 25000
	maxHistoryRuns      = 100
	maxPage             = 50000
	defaultRunsPage     = 1000
	mostAsked           = 1_000_000
	maxSamplesPerMetric = 2500
)

// validText refuses a value that is longer than MLflow's server takes, or than is
// stored.
func validText(field, value string, most int) error {
	if utf8.RuneCountInString(value) > most || len(value) > quant.MaxRecordValue {
		return invalidf("'%s' exceeds the maximum length of %d characters", field, most)
	}
	return nil
}

var (
	adjectives = sync.OnceValue(func() []string {
		return strings.Fields("able agile amber bold brave bright brisk calm clear clever cosmic crisp daring eager early fair fancy fast fine fleet fond frank fresh gentle glad golden grand happy handy honest humble jolly keen kind lively loyal lucky mellow merry mild neat nimble noble plain polite proud quick quiet rapid rare ready rich rosy serene sharp shy silent silver sleek smooth snappy solid spry stately steady still sunny swift tidy trusty upbeat vivid warm wise witty young zesty")
	})
	nouns = sync.OnceValue(func() []string {
		return strings.Fields("ant ape bass bear bee bird bison bug calf carp cat chimp cod colt cow crab crane crow cub deer doe dog dolphin dove duck eel elk fawn finch fish flea fly foal fowl fox frog gnat goat goose grouse gull hare hawk hen hog horse hound jay kit kite koi lamb lark loon lynx mare mink mole moose moth mouse mule newt owl ox panda penguin perch pig pug quail ram rat ray robin rook seal shad shark sheep shrew shrike skunk slug snail snake sow squid stag steed stoat stork swan tern toad trout turtle vole wasp whale wolf worm wren yak zebra")
	})
)

// randomName names a run whose client did not.
func randomName() string {
	first, second := adjectives(), nouns()
	return fmt.Sprintf("%s-%s-%d", first[rand.IntN(len(first))], second[rand.IntN(len(second))], rand.IntN(1000))
}
