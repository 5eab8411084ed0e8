package tracking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"quant"
	"quant/internal/metastore"
)

// RegisteredModel is a name under which versions of models are registered, as it is
// told.
type RegisteredModel = metastore.RegisteredModelDetail

// ModelVersion is a version of a registered model, as it is told.
type ModelVersion = metastore.ModelVersionDetail

// The limits of the registry, in characters and in rows, are the reference server's.
const (
	maxModelName         = 256
	maxModelDescription  = 5000
	maxModelTagValue     = 100_000
	maxModelAlias        = 255
	maxModelsOfPage      = 1000
	maxVersionsOfPage    = 200_000
	defaultModelsOfPage  = 100
	defaultVersionOfPage = 10_000
)

// The tag of prompts, which the registry keeps beside models and leaves out of a
// search that does not ask for them; and the tag of a logged model that names the
// versions it is registered as.
const (
	promptTag   = "mlflow.prompt.is_prompt"
	versionsTag = "mlflow.modelVersions"
)

const (
	stageNone     = "None"
	stageArchived = "Archived"
	statusReady   = "READY"
)

// stages are those of a version, in the reference server's order.
func stages() []string { return []string{stageNone, "Staging", "Production", stageArchived} }

func canonicalStage(stage string) (string, error) {
	for _, s := range stages() {
		if strings.EqualFold(s, stage) {
			return s, nil
		}
	}
	return "", invalidf("Invalid Model Version stage: %s. Value must be one of %s.", stage, strings.Join(stages(), ", "))
}

func validRegisteredName(field, name string) error {
	if strings.TrimSpace(name) == "" {
		return invalidf("Missing value for required parameter '%s'.", field)
	}
	if strings.ContainsAny(name, "/:") {
		return invalidf("Invalid model name '%s'. Names cannot contain '/' or ':'.", name)
	}
	if p := normal(name); p != name || p == "." || strings.HasPrefix(p, "..") {
		return invalidValue("name", name, "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to '"+p+"'")
	}
	return atMost("name", name, maxModelName)
}

// validModelTag refuses the tag of a registered model or version.
func validModelTag(tag Tag) error {
	if err := validName("key", "name", tag.Key); err != nil {
		return err
	}
	return atMost("value", tag.Value, maxModelTagValue)
}

// version reads the number of a version.
func version(text string) (int64, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, invalidf("Parameter 'version' must be an integer, got '%s'.", text)
	}
	return v, nil
}

var (
	aliasName     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[\pL\pN_\-]+$`) }) // nothing is done at start-up
	aliasReserved = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[vV]\d+$`) })
)

func validAlias(alias string) error {
	switch {
	case alias == "":
		return invalidf("Registered model alias name cannot be empty.")
	case !aliasName().MatchString(alias):
		return invalidf("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes (-).", alias)
	}
	return atMost("Registered model alias name", alias, maxModelAlias)
}

func noRegistered(name string) error {
	return notFoundf("Registered Model with name=%s not found", name)
}

func noVersion(name, version string) error {
	return notFoundf("Model Version (name=%s, version=%s) not found", name, version)
}

// instead is another error in the place of one with a code.
func instead(err error, code quant.Code, other error) error {
	if errors.Is(err, code) {
		return other
	}
	return err
}

// CreateRegisteredModel registers a name. Errors: Conflict, marked ErrExists, if it
// is taken; Invalid.
func (t *Tracking) CreateRegisteredModel(ctx context.Context, name, description string, tags []Tag) (RegisteredModel, error) {
	if err := validRegisteredName("name", name); err != nil {
		return RegisteredModel{}, err
	}
	if err := atMost("description", description, maxModelDescription); err != nil {
		return RegisteredModel{}, err
	}
	var rows []quant.RegisteredModelTag
	prompt := false
	for _, tag := range tags {
		if err := validModelTag(tag); err != nil {
			return RegisteredModel{}, err
		}
		prompt = prompt || tag.Key == promptTag
		rows = append(rows, quant.RegisteredModelTag{Name: tag.Key, Value: t.maskValue(tag.Key, tag.Value)})
	}
	now := t.now()
	m := quant.RegisteredModel{Name: name, Description: quant.Text(t.mask(description)), CreatedAt: now, UpdatedAt: now}
	err := t.Store.CreateRegisteredModel(ctx, m, rows)
	if errors.Is(err, quant.Conflict) {
		what := "Registered Model"
		if prompt {
			what = "Prompt"
		}
		err = marked(quant.Conflict, ErrExists, "%s (name=%s) already exists.", what, name)
	}
	if err != nil {
		return RegisteredModel{}, err
	}
	return t.RegisteredModel(ctx, name)
}

// RegisteredModel returns one; NotFound.
func (t *Tracking) RegisteredModel(ctx context.Context, name string) (RegisteredModel, error) {
	if err := validRegisteredName("name", name); err != nil {
		return RegisteredModel{}, err
	}
	m, err := t.Store.GetRegisteredModel(ctx, name)
	return m, instead(err, quant.NotFound, noRegistered(name))
}

// DescribeRegisteredModel replaces the description. NotFound; Invalid.
func (t *Tracking) DescribeRegisteredModel(ctx context.Context, name, description string) (RegisteredModel, error) {
	if err := validRegisteredName("name", name); err != nil {
		return RegisteredModel{}, err
	}
	if err := atMost("description", description, maxModelDescription); err != nil {
		return RegisteredModel{}, err
	}
	err := t.Store.DescribeRegisteredModel(ctx, name, quant.Text(t.mask(description)), t.now())
	if err != nil {
		return RegisteredModel{}, instead(err, quant.NotFound, noRegistered(name))
	}
	return t.RegisteredModel(ctx, name)
}

// RenameRegisteredModel gives a model another name. Errors: NotFound; Conflict,
// marked ErrExists; Invalid.
func (t *Tracking) RenameRegisteredModel(ctx context.Context, name, newName string) (RegisteredModel, error) {
	if err := validRegisteredName("name", name); err != nil {
		return RegisteredModel{}, err
	}
	if err := validRegisteredName("new_name", newName); err != nil {
		return RegisteredModel{}, err
	}
	err := t.Store.RenameRegisteredModel(ctx, name, newName, t.now())
	switch {
	case errors.Is(err, quant.NotFound):
		return RegisteredModel{}, noRegistered(name)
	case errors.Is(err, quant.Conflict):
		return RegisteredModel{}, marked(quant.Conflict, ErrExists, "Registered Model (name=%s) already exists.", newName)
	case err != nil:
		return RegisteredModel{}, err
	}
	return t.RegisteredModel(ctx, newName)
}

// DeleteRegisteredModel removes a model with its versions. NotFound.
func (t *Tracking) DeleteRegisteredModel(ctx context.Context, name string) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	return instead(t.Store.DeleteRegisteredModel(ctx, name), quant.NotFound, noRegistered(name))
}

// RegistrySearch says which registered models or versions to find.
type RegistrySearch struct {
	Filter string
	Order  []string // such as "name DESC"
	Offset int
	Limit  int // 0: as many as the reference server gives
}

// SearchRegisteredModels finds models, and tells whether there are more. Invalid.
func (t *Tracking) SearchRegisteredModels(ctx context.Context, s RegistrySearch) ([]RegisteredModel, bool, error) {
	q, err := registrySearch(s, map[string]string{"name": "name"}, nil,
		map[string]string{"name": "name", "timestamp": "updated_at", "last_updated_timestamp": "updated_at"}, defaultModelsOfPage, maxModelsOfPage)
	if err != nil {
		return nil, false, err
	}
	return t.Store.SearchRegisteredModels(ctx, q)
}

// SearchModelVersions finds versions, and tells whether there are more. Invalid.
func (t *Tracking) SearchModelVersions(ctx context.Context, s RegistrySearch) ([]ModelVersion, bool, error) {
	if len(s.Order) == 0 {
		s.Order = []string{"last_updated_timestamp DESC", "name ASC", "version_number DESC"}
	}
	q, err := registrySearch(s, map[string]string{"name": "name", "version_number": "version", "run_id": "run_id", "source_path": "source"}, []string{"version"},
		map[string]string{"name": "name", "version_number": "version", "creation_timestamp": "created_at", "last_updated_timestamp": "updated_at"}, defaultVersionOfPage, maxVersionsOfPage)
	if err != nil {
		return nil, false, err
	}
	return t.Store.SearchModelVersions(ctx, q)
}

func registrySearch(s RegistrySearch, attributes map[string]string, numbers []string, orders map[string]string, byDefault, most int) (q metastore.ModelSearch, err error) {
	q.Offset, q.Limit, q.Hidden = s.Offset, s.Limit, promptTag
	if q.Limit == 0 {
		q.Limit = byDefault
	}
	if q.Limit > most {
		return q, invalidf("Invalid value for request parameter max_results. It must be at most %d, but got value %d", most, q.Limit)
	}
	if q.Limit < 1 {
		return q, invalidf("Invalid value for max_results. It must be a positive integer, but got %d", q.Limit)
	}
	if err := checkOrders(len(s.Order)); err != nil {
		return q, err
	}
	list, err := parseModelFilter(s.Filter)
	if err != nil {
		return q, err
	}
	for _, c := range list {
		one, err := registryCondition(c, attributes, numbers)
		if err != nil {
			return q, err
		}
		if one.Of != metastore.TagField || one.Name != promptTag {
			q.Where = append(q.Where, one)
			continue
		}
		text := strings.ToLower(c.text)
		if c.op == "=" && text == "true" || c.op == "!=" && text == "false" {
			q.Hidden = ""
			q.Where = append(q.Where, one)
		} // else what is no prompt, which has no such tag
	}
	seen := map[string]bool{}
	for _, text := range s.Order {
		key, desc, err := orderOf(text)
		if err != nil {
			return q, err
		}
		name, ok := orders[key]
		if !ok {
			var valid []string
			for k := range orders {
				valid = append(valid, k)
			}
			slices.Sort(valid)
			return q, invalidf("Invalid order by key '%s' specified. Valid keys are '%s'", key, strings.Join(valid, "', '"))
		}
		if seen[name] {
			return q, invalidf("`order_by` contains duplicate fields: %s", strings.Join(s.Order, ", "))
		}
		seen[name] = true
		q.Order = append(q.Order, metastore.ModelOrder{Of: metastore.AttributeField, Name: name, Desc: desc})
	}
	return q, nil
}

func registryCondition(c modelComparison, attributes map[string]string, numbers []string) (one metastore.ModelCondition, err error) {
	one.Op = c.op
	switch c.of {
	case "tag", "tags":
		one.Of, one.Name = metastore.TagField, c.key
		if !slices.Contains([]string{"=", "!=", "LIKE", "ILIKE"}, c.op) {
			return one, invalidf("Invalid comparator for tag: %s", c.op)
		}
		if !c.quoted {
			return one, invalidf("Expected a quoted string value for tag (e.g. 'my-value'). Got value %s", c.written)
		}
		one.Value = c.text
		return one, nil
	case "", "attribute":
	default:
		return one, invalidf("Invalid entity type '%s'. Valid entity types are ('attribute', 'tag', 'tags')", c.of)
	}
	name, ok := attributes[c.key]
	if !ok {
		var valid []string
		for k := range attributes {
			valid = append(valid, k)
		}
		slices.Sort(valid)
		return one, invalidf("Invalid attribute key '%s' specified. Valid keys are '%s'", c.key, strings.Join(valid, "', '"))
	}
	one.Of, one.Name = metastore.AttributeField, name
	if slices.Contains(numbers, name) {
		if strings.HasSuffix(c.op, "LIKE") || c.list != nil || strings.HasSuffix(c.op, "IN") {
			return one, invalidf("Invalid comparator for attribute %s: %s", c.key, c.op)
		}
		v, err := strconv.ParseInt(c.text, 10, 64)
		if err != nil {
			return one, invalidf("Expected an integer value for attribute %s. Got value %s", c.key, c.written)
		}
		one.Value = v
		return one, nil
	}
	switch {
	case c.op == "IN" || c.op == "NOT IN":
		if name != "run_id" && name != "name" {
			return one, invalidf("Only the 'run_id' attribute supports comparison with a list of quoted string values.")
		}
		if len(c.list) == 0 {
			return one, invalidf("While parsing a list in the query, expected a non-empty list of string values, but got %s", c.written)
		}
		one.Value = c.list
	case !slices.Contains([]string{"=", "!=", "LIKE", "ILIKE"}, c.op):
		return one, invalidf("Invalid comparator for attribute: %s", c.op)
	case c.list != nil || !c.quoted:
		return one, invalidf("Expected a quoted string value or a list of quoted string values for attributes. Got value %s", c.written)
	default:
		one.Value = c.text
	}
	return one, nil
}

// orderOf reads a key of an order: a name, and a direction.
func orderOf(text string) (key string, desc bool, err error) {
	parts := strings.Fields(text)
	if len(parts) == 0 || len(parts) > 2 {
		return "", false, invalidf("Invalid order_by clause '%s'. Could not be parsed.", text)
	}
	if len(parts) == 2 {
		switch strings.ToLower(parts[1]) {
		case "asc":
		case "desc":
			desc = true
		default:
			return "", false, invalidf("Invalid ordering key in order_by clause '%s'.", text)
		}
	}
	return strings.Trim(strings.TrimPrefix(parts[0], "attribute."), "`\""), desc, nil
}

// LatestVersions returns the latest version of each of these stages, or of all.
// NotFound; Invalid.
func (t *Tracking) LatestVersions(ctx context.Context, name string, wanted []string) ([]ModelVersion, error) {
	m, err := t.RegisteredModel(ctx, name)
	if err != nil {
		return nil, err
	}
	var canonical []string
	for _, stage := range wanted {
		s, err := canonicalStage(stage)
		if err != nil {
			return nil, err
		}
		canonical = append(canonical, s)
	}
	if len(canonical) == 0 {
		return m.Latest, nil
	}
	return slices.DeleteFunc(m.Latest, func(v ModelVersion) bool { return !slices.Contains(canonical, v.Stage) }), nil
}

// SetRegisteredModelTag stores or replaces a tag. NotFound; Invalid.
func (t *Tracking) SetRegisteredModelTag(ctx context.Context, name string, tag Tag) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	if err := validModelTag(tag); err != nil {
		return err
	}
	err := t.Store.SetRegisteredModelTag(ctx, quant.RegisteredModelTag{Model: name, Name: tag.Key, Value: t.maskValue(tag.Key, tag.Value)})
	return instead(err, quant.NotFound, noRegistered(name))
}

// DeleteRegisteredModelTag takes a tag away, where there is one. NotFound for the
// model.
func (t *Tracking) DeleteRegisteredModelTag(ctx context.Context, name, key string) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	return instead(t.Store.DeleteRegisteredModelTag(ctx, name, key), quant.NotFound, noRegistered(name))
}

// SetRegisteredModelAlias names a version. NotFound; Invalid.
func (t *Tracking) SetRegisteredModelAlias(ctx context.Context, name, alias, number string) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	if err := validAlias(alias); err != nil {
		return err
	}
	if strings.EqualFold(alias, "latest") {
		return invalidf("'latest' alias name (case insensitive) is reserved.")
	}
	if aliasReserved().MatchString(alias) {
		return invalidf("Version alias name '%s' is reserved.", alias)
	}
	v, err := version(number)
	if err != nil {
		return err
	}
	err = t.Store.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: name, Alias: alias, Version: v})
	return instead(err, quant.NotFound, noVersion(name, number))
}

// DeleteRegisteredModelAlias takes an alias away, where there is one. NotFound for
// the model.
func (t *Tracking) DeleteRegisteredModelAlias(ctx context.Context, name, alias string) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	if err := validAlias(alias); err != nil {
		return err
	}
	return instead(t.Store.DeleteRegisteredModelAlias(ctx, name, alias), quant.NotFound, noRegistered(name))
}

// VersionOfAlias returns the version that an alias names; latest names the last
// that was registered. Errors: NotFound for the model; Invalid for the alias.
func (t *Tracking) VersionOfAlias(ctx context.Context, name, alias string) (ModelVersion, error) {
	if err := validAlias(alias); err != nil {
		return ModelVersion{}, err
	}
	m, err := t.RegisteredModel(ctx, name)
	if err != nil {
		return ModelVersion{}, err
	}
	if strings.EqualFold(alias, "latest") {
		if len(m.Latest) == 0 {
			return ModelVersion{}, notFoundf("Latest version not found for model %s.", name)
		}
		return m.Latest[len(m.Latest)-1], nil
	}
	v, err := t.Store.ModelVersionOf(ctx, name, alias)
	return v, instead(err, quant.NotFound, invalidf("Registered model alias %s not found.", alias))
}

// NewVersion is what a client says of a version that it registers.
type NewVersion struct {
	Name, Source, RunID, RunLink, Description, ModelID string
	Tags                                               []Tag
}

// CreateModelVersion registers a version under the next number. What its source
// names is stored and never opened. Errors: NotFound for the model; Invalid for a
// source that is a path of a machine, or that climbs.
func (t *Tracking) CreateModelVersion(ctx context.Context, n NewVersion) (ModelVersion, error) {
	if err := validRegisteredName("name", n.Name); err != nil {
		return ModelVersion{}, err
	}
	if err := atMost("description", n.Description, maxModelDescription); err != nil {
		return ModelVersion{}, err
	}
	var tags []quant.ModelVersionTag
	prompt := false
	for _, tag := range n.Tags {
		if err := validModelTag(tag); err != nil {
			return ModelVersion{}, err
		}
		prompt = prompt || tag.Key == promptTag
		tags = append(tags, quant.ModelVersionTag{Name: tag.Key, Value: t.maskValue(tag.Key, tag.Value)})
	}
	location, err := t.sourceOf(ctx, &n, prompt)
	if err != nil {
		return ModelVersion{}, err
	}
	now := t.now()
	mask := t.mask
	number, err := t.Store.CreateModelVersion(ctx, quant.ModelVersion{
		Model: n.Name, Description: quant.Text(mask(n.Description)), Stage: stageNone, Source: mask(n.Source), Location: mask(location),
		RunID: quant.Text(n.RunID), RunLink: quant.Text(mask(n.RunLink)), ModelID: quant.Text(n.ModelID), Status: statusReady, CreatedAt: now, UpdatedAt: now,
	}, tags)
	if err != nil {
		return ModelVersion{}, instead(err, quant.NotFound, noRegistered(n.Name))
	}
	if !prompt && n.ModelID != "" {
		if err := t.noteVersion(ctx, n.ModelID, n.Name, number); err != nil {
			return ModelVersion{}, err
		}
	}
	return t.ModelVersion(ctx, n.Name, strconv.FormatInt(number, 10))
}

// sourceOf checks the source of a version, fills in the run where the source tells
// it, and returns where the version's files are.
func (t *Tracking) sourceOf(ctx context.Context, n *NewVersion, prompt bool) (string, error) {
	if prompt {
		return n.Source, nil
	}
	if err := validSource(n.Source, n.ModelID != ""); err != nil {
		return "", err
	}
	location := n.Source
	if rest, ok := strings.CutPrefix(n.Source, "models:/"); ok {
		if strings.HasPrefix(rest, "/") {
			return "", invalidf("Invalid model version source: '%s'. Registered model sources must use the active model registry.", n.Source)
		}
		name, number, versioned := strings.Cut(rest, "/")
		if !versioned && !strings.Contains(rest, "@") {
			m, err := t.GetLoggedModel(ctx, rest)
			if err != nil {
				return "", unfetched(n.Source, err)
			}
			location = m.Root
			if n.RunID == "" {
				n.RunID = m.SourceRunID
			}
		} else {
			v, err := t.versionNamed(ctx, name, number, versioned)
			if err != nil {
				return "", unfetched(n.Source, err)
			}
			location = v.Location
			n.Source = fmt.Sprintf("models:/%s/%d", v.Model, v.Version)
			if n.RunID == "" {
				n.RunID = string(v.RunID)
			}
			if n.ModelID == "" {
				n.ModelID = string(v.ModelID)
			}
		}
	}
	if n.ModelID != "" {
		m, err := t.GetLoggedModel(ctx, n.ModelID)
		if err != nil {
			return "", err
		}
		if n.RunID == "" {
			n.RunID = m.SourceRunID
		}
	}
	return location, nil
}

func unfetched(source string, err error) error {
	return quant.Errorf(quant.CodeOf(err), "Unable to fetch model from model URI source artifact location '%s'. Error: %w", source, err)
}

// versionNamed finds the version of models:/NAME/NUMBER, /STAGE and /latest, and of
// models:/NAME@ALIAS.
func (t *Tracking) versionNamed(ctx context.Context, name, suffix string, versioned bool) (ModelVersion, error) {
	if !versioned {
		at := strings.LastIndex(name, "@")
		return t.VersionOfAlias(ctx, name[:at], name[at+1:])
	}
	if _, err := strconv.ParseInt(suffix, 10, 64); err == nil {
		return t.ModelVersion(ctx, name, suffix)
	}
	var wanted []string
	if !strings.EqualFold(suffix, "latest") {
		wanted = []string{suffix}
	}
	list, err := t.LatestVersions(ctx, name, wanted)
	if err != nil {
		return ModelVersion{}, err
	}
	if len(list) == 0 {
		return ModelVersion{}, notFoundf("No versions of model with name '%s' and stage '%s' found", name, suffix)
	}
	return list[len(list)-1], nil
}

// validSource refuses a source that is a path of a machine, whose files this server
// would not have, and one that climbs.
func validSource(source string, ofModel bool) error {
	u, err := url.Parse(source)
	if err != nil {
		return climbs(source)
	}
	if u.Scheme == "" || u.Scheme == "file" {
		if host := u.Hostname(); u.Scheme == "file" && host != "" && host != "." && !strings.HasPrefix(host, "localhost") && !strings.HasPrefix(host, "127.0.0.1") {
			return quant.Errorf(quant.Failed, "%s is not a valid remote uri. For remote access on windows, please consider using a different scheme such as SMB (e.g. smb://<hostname>/<path>).", source)
		}
		parameter := "run_id"
		if ofModel {
			parameter = "model_id"
		}
		return invalidf("Invalid model version source: '%s'. To use a local path as a model version source, the %s request parameter has to be specified and the local path has to be contained within the artifact directory of the run specified by the %s.", source, parameter, parameter)
	}
	decoded := source
	for range 10 {
		next, err := url.QueryUnescape(decoded)
		if err != nil || next == decoded {
			break
		}
		decoded = next
	}
	if strings.ContainsRune(decoded, 0) || slices.Contains(strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' || r == '\\' }), "..") {
		return climbs(source)
	}
	inside := decoded[strings.Index(decoded, ":")+1:]
	if strings.HasPrefix(inside, "//") {
		if slash := strings.IndexByte(inside[2:], '/'); slash >= 0 {
			inside = inside[2+slash:]
		} else {
			inside = ""
		}
	}
	if u.Scheme == "runs" || u.Scheme == "models" || inside == "" {
		return nil
	}
	if inside, _, _ = strings.Cut(inside, "?"); inside == "" {
		return nil
	}
	single := regexp.MustCompile(`/+`).ReplaceAllString(strings.TrimRight(inside, "/"), "/")
	if single != "" && path.Clean(single) != single || single != "" && !strings.HasPrefix(single, "/") {
		return climbs(source)
	}
	return nil
}

func climbs(source string) error {
	return invalidf("Invalid model version source: '%s'. If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references present. Please provide an absolute path.", source)
}

// noteVersion adds a version to the tag of its logged model.
func (t *Tracking) noteVersion(ctx context.Context, modelID, name string, number int64) error {
	return t.Store.Tx(ctx, func(ctx context.Context) error {
		list, err := t.Store.LoggedModelsOf(ctx, []string{modelID}, false)
		if err != nil || len(list) == 0 {
			return err
		}
		text := ""
		for _, tag := range list[0].Tags {
			if tag.Name == versionsTag {
				text = strings.TrimSuffix(tag.Value, "]")
			}
		}
		if !strings.HasPrefix(text, "[") || !json.Valid([]byte(text+"]")) {
			text = "["
		} else if text != "[" {
			text += ", "
		}
		text += fmt.Sprintf(`{"name": %s, "version": %d}]`, jsonOf(name), number)
		return t.Store.LogLoggedModel(ctx, nil, []quant.LoggedModelTag{{ModelID: modelID, Name: versionsTag, Value: text}}, nil)
	})
}

// ModelVersion returns a version; NotFound; Invalid for what is no number.
func (t *Tracking) ModelVersion(ctx context.Context, name, number string) (ModelVersion, error) {
	if err := validRegisteredName("name", name); err != nil {
		return ModelVersion{}, err
	}
	v, err := version(number)
	if err != nil {
		return ModelVersion{}, err
	}
	found, err := t.Store.GetModelVersion(ctx, name, v)
	return found, instead(err, quant.NotFound, noVersion(name, number))
}

// VersionLocation is where the files of a version are, as a URI. NotFound.
func (t *Tracking) VersionLocation(ctx context.Context, name, number string) (string, error) {
	v, err := t.ModelVersion(ctx, name, number)
	return v.Location, err
}

// onVersion changes a version and returns what became of it.
func (t *Tracking) onVersion(ctx context.Context, name, number string, change func(v int64, at quant.Time) error) (ModelVersion, error) {
	if err := validRegisteredName("name", name); err != nil {
		return ModelVersion{}, err
	}
	v, err := version(number)
	if err != nil {
		return ModelVersion{}, err
	}
	if err := change(v, t.now()); err != nil {
		return ModelVersion{}, instead(err, quant.NotFound, noVersion(name, number))
	}
	return t.ModelVersion(ctx, name, number)
}

// DescribeModelVersion replaces the description. NotFound; Invalid.
func (t *Tracking) DescribeModelVersion(ctx context.Context, name, number, description string) (ModelVersion, error) {
	if err := atMost("description", description, maxModelDescription); err != nil {
		return ModelVersion{}, err
	}
	return t.onVersion(ctx, name, number, func(v int64, at quant.Time) error {
		return t.Store.DescribeModelVersion(ctx, name, v, quant.Text(t.mask(description)), at)
	})
}

// StageModelVersion moves a version to a stage; archive moves those that are there
// out of it, to Archived. NotFound; Invalid.
func (t *Tracking) StageModelVersion(ctx context.Context, name, number, stage string, archive bool) (ModelVersion, error) {
	canonical, err := canonicalStage(stage)
	if err != nil {
		return ModelVersion{}, err
	}
	others := ""
	if archive {
		if canonical == stageNone || canonical == stageArchived {
			return ModelVersion{}, invalidf("Model version transition cannot archive existing model versions because '%s' is not an Active stage. Valid stages are ['Staging', 'Production']", stage)
		}
		others = stageArchived
	}
	return t.onVersion(ctx, name, number, func(v int64, at quant.Time) error {
		return t.Store.StageModelVersion(ctx, name, v, canonical, others, at)
	})
}

// DeleteModelVersion takes a version away; its number is not given again. NotFound.
func (t *Tracking) DeleteModelVersion(ctx context.Context, name, number string) error {
	if err := validRegisteredName("name", name); err != nil {
		return err
	}
	v, err := version(number)
	if err != nil {
		return err
	}
	return instead(t.Store.DeleteModelVersion(ctx, name, v, t.now()), quant.NotFound, noVersion(name, number))
}

// SetModelVersionTag stores or replaces a tag. NotFound; Invalid.
func (t *Tracking) SetModelVersionTag(ctx context.Context, name, number string, tag Tag) error {
	if err := validModelTag(tag); err != nil {
		return err
	}
	_, err := t.onVersion(ctx, name, number, func(v int64, _ quant.Time) error {
		return t.Store.SetModelVersionTag(ctx, quant.ModelVersionTag{Model: name, Version: v, Name: tag.Key, Value: t.maskValue(tag.Key, tag.Value)})
	})
	return err
}

// DeleteModelVersionTag takes a tag away, where there is one. NotFound for the
// version.
func (t *Tracking) DeleteModelVersionTag(ctx context.Context, name, number, key string) error {
	_, err := t.onVersion(ctx, name, number, func(v int64, _ quant.Time) error {
		return t.Store.DeleteModelVersionTag(ctx, name, v, key)
	})
	return err
}
